//! Values with numbers: found at once by number, walked through in portions, and a number is never used again although
//! its room is.

use crate::schedule::TargetId;

#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    /// Grows whenever the slot is emptied.
    generation: u32,
    value: Option<T>,
}

/// Where a walk goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(usize);

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> TargetId {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).expect("2^32 values do not fit into memory");
            self.slots.push(Slot { generation: 0, value: None });
            index
        });
        let slot = &mut self.slots[position(index)];
        slot.value = Some(value);
        id(index, slot.generation)
    }

    pub(super) fn get(&self, id: TargetId) -> Option<&T> {
        let (index, generation) = parts(id);
        self.slots.get(position(index)).filter(|slot| slot.generation == generation)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: TargetId) -> Option<&mut T> {
        let (index, generation) = parts(id);
        self.slots.get_mut(position(index)).filter(|slot| slot.generation == generation)?.value.as_mut()
    }

    pub(super) fn remove(&mut self, id: TargetId) -> Option<T> {
        let (index, generation) = parts(id);
        let slot = self.slots.get_mut(position(index)).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TargetId, &T)> {
        let with_index = (0..).zip(&self.slots);
        with_index.filter_map(|(index, slot)| Some((id(index, slot.generation), slot.value.as_ref()?)))
    }

    /// The values of the next `room` slots, and where to go on; `None`: that was the end. What is inserted or removed
    /// between two portions may be missed or not.
    pub(super) fn portion(&self, from: Cursor, room: usize) -> (impl Iterator<Item = &T>, Option<Cursor>) {
        let start = from.0.min(self.slots.len());
        let end = start.saturating_add(room).min(self.slots.len());
        let values = self.slots[start..end].iter().filter_map(|slot| slot.value.as_ref());
        (values, (end < self.slots.len()).then_some(Cursor(end)))
    }
}

fn id(index: u32, generation: u32) -> TargetId {
    TargetId(u64::from(generation) << 32 | u64::from(index))
}

fn parts(id: TargetId) -> (u32, u32) {
    let low = u32::try_from(id.0 & u64::from(u32::MAX)).expect("32 bits fit");
    (low, u32::try_from(id.0 >> 32).expect("32 bits fit"))
}

fn position(index: u32) -> usize {
    usize::try_from(index).expect("a machine that counts with 32 bits or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_and_numbers_are_not() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!((slots.get(a), slots.get(b), slots.len()), (Some(&'a'), Some(&'b'), 2));
        assert_eq!((slots.remove(a), slots.remove(a)), (Some('a'), None));
        let c = slots.insert('c');
        assert_eq!((slots.slots.len(), slots.get(a)), (2, None));
        assert_eq!(slots.get_mut(a), None);
        assert_ne!(a, c);
        let found: Vec<_> = slots.iter().map(|(id, value)| (id, *value)).collect();
        assert_eq!(found, [(c, 'c'), (b, 'b')]);
    }

    #[test]
    fn portions_cover_everything_once() {
        let mut slots = Slots::new();
        let ids: Vec<_> = (0..10).map(|number| slots.insert(number)).collect();
        slots.remove(ids[4]);
        for room in [1, 3, 10, 100] {
            let (mut found, mut next) = (Vec::new(), Some(Cursor::default()));
            while let Some(cursor) = next {
                let (values, rest) = slots.portion(cursor, room);
                found.extend(values.copied());
                next = rest;
            }
            assert_eq!(found, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        }
        assert_eq!(Slots::<u8>::new().portion(Cursor::default(), 5).1, None);
    }
}
