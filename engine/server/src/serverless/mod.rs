//! Pools whose runners are called by URL: what is asked of such a URL, and where calls may go.
//!
//! In reading order:
//! - [`policy`]: which destinations are allowed.
//! - [`client`]: one HTTP request that keeps to it.
//! - [`metadata`]: what a URL says about itself.

pub mod client;
pub mod metadata;
pub mod policy;
