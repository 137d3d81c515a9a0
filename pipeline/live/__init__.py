"""Live cameras: workers, pools, leases, supervisor, relays. Plain classes; `ray/` wraps them."""
