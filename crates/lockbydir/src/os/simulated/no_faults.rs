//! No faults: what stands in for [`faults`](super) in a build without the feature `simulated`.

use std::rc::Rc;

use crate::os::simulated::{Kind, World};

pub(crate) fn world() -> Option<Rc<dyn World>> {
    None
}

pub(crate) fn count(_: Kind) {}

pub(crate) fn before_change() {}

pub(crate) fn is_no_replace_missing() -> bool {
    false
}

pub(crate) fn is_every_mount_known() -> bool {
    false
}
