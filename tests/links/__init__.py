"""Who may link, on real sockets: TLS, refusals, floods; each test on both event loops."""
