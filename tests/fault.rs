//! Bad input and broken peers: a clear error, and nothing left behind.

mod images;
mod requests;
