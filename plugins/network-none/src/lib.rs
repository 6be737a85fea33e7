//! No network but loopback.
