//! What clients of the Docker Engine API see.

mod containers;
mod exec;
mod images;
mod networks;
mod system;
mod terminal;
mod volumes;
