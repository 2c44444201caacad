//! The ways in which a group can be computed, and their names.

use std::fmt;
use std::str::FromStr;

/// How the sums of a group are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Each tile's columns are gathered into a block that all panels of weights are multiplied with.
    Packed,
    /// Columns are read where they lie in the input.
    InPlace,
    /// By fewer products between transformed tiles; see `winograd.rs`.
    Winograd,
    /// With filters as lanes; see `filter_lanes.rs`.
    FilterLanes,
    /// Plane by plane; see `depthwise.rs`.
    Depthwise,
    /// Some planes of a depthwise layer at a time; see `channel_lanes.rs`.
    ChannelLanes,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 6] =
        [Method::Packed, Method::InPlace, Method::Winograd, Method::FilterLanes, Method::Depthwise, Method::ChannelLanes];

    /// Its name in reports and files, which stays the same.
    fn name(self) -> &'static str {
        match self {
            Method::Packed => "packed",
            Method::InPlace => "in place",
            Method::Winograd => "winograd",
            Method::FilterLanes => "filter lanes",
            Method::Depthwise => "depthwise",
            Method::ChannelLanes => "channel lanes",
        }
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
