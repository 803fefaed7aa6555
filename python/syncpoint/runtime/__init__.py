"""Everything that touches the world: clock, storage, links, and the driver that runs a machine on them."""
