//! Whether what is said is what is heard, in our own protocol: recorded bytes, generated values, and bytes of nobody.
//!
//! In reading order:
//! - [`generate`]: any value of any type that has bytes here.
//! - [`golden`]: bytes that must never change within a version.
//! - [`round_trips`]: every message, and pieces of components.
//! - [`hostile`]: bytes that are no message, and many random ones.

pub mod generate;
mod golden;
mod hostile;
mod round_trips;

use super::*;

const VERSION: ComponentsVersion = ComponentsVersion::NEWEST;
