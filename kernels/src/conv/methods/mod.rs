//! The ways in which a convolution group can be computed. The list at the end of this file is the only place that names all of
//! them: a new method is a file here, a line there, and a line in the table of cases of the kernels' tests.

mod channel_lanes;
mod depthwise;
mod each_group;
mod filter_lanes;
mod in_place;
mod packed;
mod winograd;

use super::method::{ConvMethod, PlacedGroup, Problem};
use std::fmt;
use std::str::FromStr;

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident = $name:literal: $plug_in:expr;)*) => {
        /// How the sums of a convolution group are computed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Method {
            $($(#[doc = $doc])* $method,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: [Method; [$($name),*].len()] = [$(Method::$method),*];

            /// Its name in reports and files, which stays the same.
            fn name(self) -> &'static str {
                match self { $(Method::$method => $name,)* }
            }

            pub(super) fn plug_in(self) -> &'static dyn ConvMethod {
                match self { $(Method::$method => &$plug_in,)* }
            }
        }
    };
}

methods! {
    /// Each tile's columns are gathered into a block that all panels of weights are multiplied with.
    Packed = "packed": packed::Packed;
    /// Columns are read where they lie in the input.
    InPlace = "in place": in_place::InPlace;
    /// By fewer products between transformed tiles.
    Winograd = "winograd": winograd::Winograd;
    /// With filters as lanes.
    FilterLanes = "filter lanes": filter_lanes::FilterLanes;
    /// Plane by plane.
    Depthwise = "depthwise": depthwise::Depthwise;
    /// Some planes of a depthwise layer at a time.
    ChannelLanes = "channel lanes": channel_lanes::ChannelLanes;
}

impl Method {
    /// What is to compute a group: the wanted method, or where that does not apply [`Method::Packed`]; where none is wanted, the
    /// method that is expected to be fastest. `None` if no such method can do so in the problem's layouts.
    pub(super) fn choose(problem: &Problem<'_>, group: PlacedGroup<'_>, wanted: Option<Method>) -> Option<Method> {
        let applies = |method: &Method| {
            let method = method.plug_in();
            method.supports(problem.layouts) && method.applies(problem, group)
        };
        if let Some(wanted) = wanted {
            return [wanted, Method::Packed].into_iter().find(applies);
        }
        let all: Vec<Method> = Self::ALL.into_iter().filter(applies).collect();
        if let Some(fastest) = all.iter().rev().find(|method| method.plug_in().is_fastest(problem, group)) {
            return Some(*fastest);
        }
        let competing = all.into_iter().map(|method| (method, method.plug_in())).filter(|(_, plug_in)| plug_in.competes(problem));
        let costs = competing.filter_map(|(method, plug_in)| Some((plug_in.cost(problem, group)?, method)));
        let cheapest = costs.reduce(|best, other| if other.0 < best.0 { other } else { best });
        cheapest.map(|(_, method)| method)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Method::name).join(", ");
        let found = Self::ALL.into_iter().find(|m| m.name() == name);
        found.ok_or_else(|| format!("method: expected one of {}, found '{name}'", names()))
    }
}
