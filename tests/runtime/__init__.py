"""What touches the world: links, driver, clock, storage."""
