//! What clients of the Docker Engine API see.

mod clients;
mod containers;
mod exec;
mod images;
mod networks;
mod system;
mod terminal;
mod volumes;
