//! One conformance suite a plugin kind, run over every carrier.
