//! Bridge networks with address translation and published ports.
