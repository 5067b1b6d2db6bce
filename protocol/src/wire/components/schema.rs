//! How a type of [`crate::message`] gets its bytes: its fields in the order of the table, its members by the number before them.
//!
//! ```text
//! wire_struct! { Failure { kind, message } }
//! wire_enum! { KvChange { 0 Put { key, value }, 1 Delete { key } } never { DeleteRange { .. } } }
//! ```
//!
//! The types of the fields are the declaration's. A field that the table forgets does not compile, and neither does a member. What
//! stands behind `never` cannot be said. A number is never used again for something else: a change of the table is a new version.

macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? } $( unsaid { $($unsaid:ident),* $(,)? } )?) => {
        impl $crate::wire::bare::Wire for $name {
            fn read(r: &mut $crate::wire::bare::Reader) -> Result<Self, $crate::wire::DecodeError> {
                Ok($name { $( $field: $crate::wire::bare::Wire::read(r)?, )* $( $( $unsaid: Default::default(), )* )? })
            }

            fn write(&self, w: &mut $crate::wire::bare::Writer) {
                let $name { $( $field, )* $( $( $unsaid: _, )* )? } = self;
                $( $crate::wire::bare::Wire::write($field, w); )*
            }
        }

        #[cfg(test)]
        impl $crate::wire::components::tests::generate::Generate for $name {
            fn generate(random: &mut fastrand::Rng) -> Self {
                $name {
                    $( $field: $crate::wire::components::tests::generate::Generate::generate(random), )*
                    $( $( $unsaid: Default::default(), )* )?
                }
            }
        }
    };
}

macro_rules! wire_enum {
    (
        $name:ident {
            $( $tag:literal $member:ident $(( $($part:ident),* ))? $({ $($field:ident),* $(,)? })? ),* $(,)?
        }
        $( never { $( $never:ident $never_fields:tt ),* $(,)? } )?
    ) => {
        impl $crate::wire::bare::Wire for $name {
            fn read(r: &mut $crate::wire::bare::Reader) -> Result<Self, $crate::wire::DecodeError> {
                let at = r.at();
                match r.uint()? {
                    $(
                        $tag => {
                            $( $( let $part = $crate::wire::bare::Wire::read(r)?; )* )?
                            $( $( let $field = $crate::wire::bare::Wire::read(r)?; )* )?
                            Ok($name::$member $(( $($part),* ))? $({ $($field),* })?)
                        }
                    )*
                    tag => Err(r.no_member(at, stringify!($name), tag)),
                }
            }

            fn write(&self, w: &mut $crate::wire::bare::Writer) {
                match self {
                    $(
                        $name::$member $(( $($part),* ))? $({ $($field),* })? => {
                            w.uint($tag);
                            $( $( $crate::wire::bare::Wire::write($part, w); )* )?
                            $( $( $crate::wire::bare::Wire::write($field, w); )* )?
                        }
                    )*
                    $( $( $name::$never $never_fields => w.cannot_say(concat!(stringify!($name), "::", stringify!($never))), )* )?
                }
            }
        }

        #[cfg(test)]
        impl $crate::wire::components::tests::generate::Generate for $name {
            fn generate(random: &mut fastrand::Rng) -> Self {
                let tags = [$($tag),*];
                match tags[random.usize(..tags.len())] {
                    $(
                        $tag => {
                            $( $( let $part = $crate::wire::components::tests::generate::Generate::generate(random); )* )?
                            $( $( let $field = $crate::wire::components::tests::generate::Generate::generate(random); )* )?
                            $name::$member $(( $($part),* ))? $({ $($field),* })?
                        }
                    )*
                    _ => unreachable!("it is one of them"),
                }
            }
        }
    };
}

pub(super) use {wire_enum, wire_struct};
