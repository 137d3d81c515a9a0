"""Published methods on a plain network: EAC, RUL and SCN."""
