//! Behaviour of the store as a whole.
