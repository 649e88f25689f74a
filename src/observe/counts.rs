//! Groups of counts: structs of plain numbers that can be walked by name.

/// Declares such a struct. What keeps the counts alive builds it field by field, so that one that is missing on
/// either side doesn't compile.
macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Each count with the name that JSON gives it.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                let Self { $($field),* } = *self;
                [$((concat!(stringify!($field), "_total"), $field)),*].into_iter()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.each())
            }
        }
    };
}

pub(super) use counts;
