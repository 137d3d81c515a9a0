"""The same classes as Ray actors: the only place in pipeline that imports Ray."""
