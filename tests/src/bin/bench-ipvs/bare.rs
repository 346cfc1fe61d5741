//! Only the messages, without acknowledgements: what the kernel itself needs, and the least that anybody can.

use ipvsd::reconcile::diff;

use crate::look::Look;
use crate::plan::Plan;

/// Encoded ahead of time.
#[derive(Debug, Default)]
pub(crate) struct Bare(Vec<Vec<u8>>);

impl Bare {
    pub(crate) fn prepare(look: &mut Look, before: Option<Plan>, after: Plan) -> Self {
        let running = before.map(Plan::table).unwrap_or_default();
        let changes = diff(&after.table(), &running, &std::collections::BTreeSet::new());
        Self(look.batches(&changes))
    }

    pub(crate) fn send(&self, look: &Look) {
        self.0.iter().for_each(|batch| look.send(batch));
    }
}
