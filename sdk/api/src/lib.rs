//! Docker Engine API wire types and the version gates.
