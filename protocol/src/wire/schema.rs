//! How a message is declared: once, in the order of the wire, for reading and for writing.
//!
//! ```text
//! schema! {
//!     pub struct RequestStart {
//!         pub actor_id: String,
//!         pub actor_generation: Option<u32> where HttpStreaming,
//!     }
//! }
//! schema! {
//!     pub enum KvRequestData {
//!         Get { keys: Vec<Bytes> },
//!         DeleteRange { start: Bytes, end: Bytes } if KvDeleteRange,
//!         Drop,
//!     }
//! }
//! ```
//!
//! A field with `where` is on the wire only in versions that have the feature; in others it is read as what follows `else`, or as
//! its default. A member with `if` exists only in versions that have the feature, and those after it move up: `Drop` is 1
//! without it and 2 with it. A type whose members have no fields is an enum of the wire; both look the same there.

macro_rules! schema {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $ty:ty $(where $feature:ident $(else $other:expr)?)?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $crate::wire::bare::Wire for $name {
            fn read(r: &mut $crate::wire::bare::Reader) -> Result<Self, $crate::wire::DecodeError> {
                Ok($name { $( $field: schema!(@read r $($feature $($other)?)?), )* })
            }

            fn write(&self, w: &mut $crate::wire::bare::Writer) {
                $( schema!(@write w (self.$field) $($feature)?); )*
            }
        }
    };

    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $(
                $(#[$member_meta:meta])*
                $member:ident
                $({ $(
                    $(#[$field_meta:meta])* $field:ident: $ty:ty $(where $feature:ident $(else $other:expr)?)?
                ),* $(,)? })?
                $(if $needs:ident)?,
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum $name {
            $( $(#[$member_meta])* $member $({ $( $(#[$field_meta])* $field: $ty, )* })?, )*
        }

        impl $crate::wire::bare::Wire for $name {
            fn read(r: &mut $crate::wire::bare::Reader) -> Result<Self, $crate::wire::DecodeError> {
                let at = r.at();
                let tag = r.uint()?;
                let mut next = 0;
                $(
                    if true $(&& r.has($crate::wire::version::Feature::$needs))? {
                        if tag == next {
                            return Ok($name::$member $({ $( $field: schema!(@read r $($feature $($other)?)?), )* })?);
                        }
                        next += 1;
                    }
                )*
                let _ = next;
                Err(r.no_member(at, stringify!($name), tag))
            }

            fn write(&self, w: &mut $crate::wire::bare::Writer) {
                let mut tag = 0;
                $(
                    let has = true $(&& w.has($crate::wire::version::Feature::$needs))?;
                    if let $name::$member $({ $( $field, )* })? = self {
                        if !has {
                            return w.cannot_say(concat!(stringify!($name), "::", stringify!($member)));
                        }
                        w.uint(tag);
                        $($( schema!(@write w (*$field) $($feature)?); )*)?
                        return;
                    }
                    tag += u64::from(has);
                )*
                let _ = tag;
            }
        }
    };

    (@read $r:ident) => { $crate::wire::bare::Wire::read($r)? };
    (@read $r:ident $feature:ident) => { schema!(@read $r $feature Default::default()) };
    (@read $r:ident $feature:ident $other:expr) => {
        if $r.has($crate::wire::version::Feature::$feature) { $crate::wire::bare::Wire::read($r)? } else { $other }
    };
    (@write $w:ident ($value:expr)) => { $crate::wire::bare::Wire::write(&$value, $w) };
    (@write $w:ident ($value:expr) $feature:ident) => {
        if $w.has($crate::wire::version::Feature::$feature) {
            $crate::wire::bare::Wire::write(&$value, $w);
        }
    };
}

pub(super) use schema;
