//! The macros that turn the tables of functions into enums, and each column of a table into a method of its enum.

/// Declares the functions of one element: [`super::Unary`], and [`super::Activation`], which tells short ones from the others.
macro_rules! unary {
    (
        short {
            $($(#[$doc:meta])* $code:literal $variant:ident
            $({ $($(#[$parameter_doc:meta])* $parameter:ident),+ $(,)? })? = $onnx:literal {
                formula: |$v:ident| $formula:expr,
                in_registers: $in_registers:expr,
                cuda: $cuda:literal,
            })+
        }
        others {
            $($(#[$other_doc:meta])* $other_code:literal $other:ident
            $({ $($(#[$other_parameter_doc:meta])* $other_parameter:ident),+ $(,)? })? = $other_onnx:literal {
                exact: |$e:ident| $exact:expr,
                kernel: |$k:ident| $kernel:expr,
                cuda: $other_cuda:literal,
            })+
        }
    ) => {
        $crate::functions::declare::activations! {
            $($(#[$doc])* $code $variant $({ $($(#[$parameter_doc])* $parameter),+ })? => {
                in_registers: $in_registers,
                cuda: $cuda,
            })+
        }
        $crate::functions::declare::functions_of_one! {
            $($(#[$doc])* $code $variant $({ $($(#[$parameter_doc])* $parameter),+ })? = $onnx {
                exact: |$v| $formula,
                kernel: |$v| $formula,
                cuda: $cuda,
            })+
            $($(#[$other_doc])* $other_code $other $({ $($(#[$other_parameter_doc])* $other_parameter),+ })? = $other_onnx {
                exact: |$e| $exact,
                kernel: |$k| $kernel,
                cuda: $other_cuda,
            })+
        }
    };
}

/// The rows of [`unary`] that are short.
macro_rules! activations {
    ($($(#[$doc:meta])* $code:literal $variant:ident $({ $($(#[$parameter_doc:meta])* $parameter:ident),+ })? => {
        in_registers: $in_registers:expr,
        cuda: $cuda:literal,
    })+) => {
        /// What a convolution, a fully connected layer or a pool applies to its sums.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub enum Activation {
            /// Nothing: the sum stays as it is.
            #[default]
            None,
            $($(#[$doc])* $variant $({ $($(#[$parameter_doc])* $parameter: f32),+ })?,)+
            /// Any other function.
            Other(Unary),
        }

        impl Activation {
            /// What kernels apply to sums in registers, if it is no more than that.
            pub fn in_registers(self) -> Option<InRegisters> {
                match self {
                    Activation::None => Some(InRegisters::Bounds([f32::NEG_INFINITY, f32::INFINITY])),
                    $(Activation::$variant $({ $($parameter),+ })? => $in_registers,)+
                    Activation::Other(_) => None,
                }
            }

            /// The function that is applied, if there is one.
            pub fn function(self) -> Option<Unary> {
                match self {
                    Activation::None => None,
                    $(Activation::$variant $({ $($parameter),+ })? => Some(Unary::$variant $({ $($parameter),+ })?),)+
                    Activation::Other(function) => Some(function),
                }
            }
        }

        impl From<Unary> for Activation {
            /// The function as it is applied to sums.
            fn from(function: Unary) -> Self {
                match function {
                    $(Unary::$variant $({ $($parameter),+ })? => Activation::$variant $({ $($parameter),+ })?,)+
                    other => Activation::Other(other),
                }
            }
        }

        /// [`Activation`] in C: 0 is none, anything else is a function's code plus 1. Functions that are not short are called: inlined, they
        /// would make every kernel that calls this twice as long.
        const ACTIVATION_IN_C: &str = concat!(
            "CALLED float other_activation(int code, float p, float q, float x) { return unary(code, p, q, x); }\n",
            "DEVICE float activate(int activation, float p, float q, float x) {\n",
            "    switch (activation) {\n",
            "    case 0: return x;\n",
            $("    case ", $code, " + 1: return ", $cuda, ";\n",)+
            "    default: return other_activation(activation - 1, p, q, x);\n    }\n}\n"
        );
    };
}

/// All rows of [`unary`].
macro_rules! functions_of_one {
    ($($(#[$doc:meta])* $code:literal $variant:ident $({ $($(#[$parameter_doc:meta])* $parameter:ident),+ })? = $onnx:literal {
        exact: |$e:ident| $exact:expr,
        kernel: |$k:ident| $kernel:expr,
        cuda: $cuda:literal,
    })+) => {
        /// A function of one element.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Unary {
            $($(#[$doc])* $variant $({ $($(#[$parameter_doc])* $parameter: f32),+ })?,)+
        }

        impl Unary {
            /// The operator's name in ONNX.
            pub fn onnx_name(self) -> &'static str {
                match self {
                    $(Unary::$variant { .. } => $onnx,)+
                }
            }

            /// What stands for it in files and in CUDA kernels.
            pub fn code(self) -> u8 {
                match self {
                    $(Unary::$variant { .. } => $code,)+
                }
            }

            /// The parameters, as many as the function has, in the order of files.
            pub fn parameters(self) -> impl Iterator<Item = f32> {
                let (all, count) = match self {
                    $(Unary::$variant $({ $($parameter),+ })? => padded(&[$($($parameter),+)?]),)+
                };
                all.into_iter().take(count)
            }

            /// The function that `code` stands for, `None` if there is none, with as many parameters as it has.
            ///
            /// # Errors
            /// Those of `next_parameter`.
            pub fn from_code<E>(code: u8, mut next_parameter: impl FnMut() -> Result<f32, E>) -> Result<Option<Self>, E> {
                Ok(Some(match code {
                    $($code => Unary::$variant $({ $($parameter: next_parameter()?),+ })?,)+
                    _ => return Ok(None),
                }))
            }

            /// The function of a constant, as exact as the standard library is.
            #[inline]
            pub fn apply(self, x: f32) -> f32 {
                match self {
                    $(Unary::$variant $({ $($parameter),+ })? => {
                        let $e = x;
                        $exact
                    })+
                }
            }

            /// Gives the formula of kernels to `visitor`.
            pub fn dispatch(self, visitor: impl UnaryVisitor) {
                match self {
                    $(Unary::$variant $({ $($parameter),+ })? => visitor.visit(
                        #[inline(always)]
                        move |$k: f32| -> f32 { $kernel },
                    ),)+
                }
            }
        }

        /// [`Unary`] in C, by its code.
        const UNARY_IN_C: &str = concat!(
            "DEVICE float unary(int code, float p, float q, float x) {\n    switch (code) {\n",
            $("    case ", $code, ": return ", $cuda, ";\n",)+
            "    default: return x;\n    }\n}\n"
        );
    };
}

/// Declares the functions of two elements, [`super::Binary`].
macro_rules! binary {
    ($($(#[$doc:meta])* $code:literal $variant:ident = $onnx:literal {
        formula: |$a:ident, $b:ident| $formula:expr,
        cuda: $cuda:literal,
        of_integers: $of_integers:expr,
        absorbs_zero: $absorbs_zero:expr,
    })+) => {
        /// A function of two elements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Binary {
            $($(#[$doc])* $variant,)+
        }

        impl Binary {
            /// All of them.
            pub const ALL: &[Binary] = &[$(Binary::$variant),+];

            /// The operator's name in ONNX.
            pub fn onnx_name(self) -> &'static str {
                match self {
                    $(Binary::$variant => $onnx,)+
                }
            }

            /// What stands for it in files and in CUDA kernels.
            pub fn code(self) -> u8 {
                match self {
                    $(Binary::$variant => $code,)+
                }
            }

            /// The function that `code` stands for.
            pub fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Binary::$variant),)+
                    _ => None,
                }
            }

            /// The function of two constants.
            #[inline]
            pub fn apply(self, a: f32, b: f32) -> f32 {
                match self {
                    $(Binary::$variant => {
                        let ($a, $b) = (a, b);
                        $formula
                    })+
                }
            }

            /// The function of integers that are known before anything runs (extents, for example), if it has a meaning for them. It
            /// yields `None` where the result is no integer of 64 bits.
            pub fn of_integers(self) -> Option<fn(i64, i64) -> Option<i64>> {
                match self {
                    $(Binary::$variant => $of_integers,)+
                }
            }

            /// Whether a zero on the left and one on the right make the result zero, whatever finite element stands on the other side.
            pub fn absorbs_zero(self) -> [bool; 2] {
                match self {
                    $(Binary::$variant => $absorbs_zero,)+
                }
            }

            /// Gives the formula to `visitor`.
            pub fn dispatch(self, visitor: impl BinaryVisitor) {
                match self {
                    $(Binary::$variant => visitor.visit(
                        #[inline(always)]
                        |$a: f32, $b: f32| -> f32 { $formula },
                    ),)+
                }
            }
        }

        /// [`Binary`] in C, by its code.
        const BINARY_IN_C: &str = concat!(
            "DEVICE float binary_of(int code, float x, float y) {\n    switch (code) {\n",
            $("    case ", $code, ": return ", $cuda, ";\n",)+
            "    default: return x;\n    }\n}\n"
        );
    };
}

pub(super) use {activations, binary, functions_of_one, unary};
