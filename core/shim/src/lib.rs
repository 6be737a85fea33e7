//! The per-container process and its protocol.
