//! The command line of SPHERE.

fn main() {}
