//! What incidents cancelled, kept so that one message can place it again. [spec safe-mode, Restoring orders]
//!
//! Kept is what the newest [INCIDENTS_MAX] incidents cancelled, for [KEPT_MS] of journal time, at most [ORDERS_MAX] orders and always the
//! last safe-mode record's. What goes, goes page by page, the oldest first; an order that was restored goes at once.

use crate::Engine;
use crate::order::{Order, triggered_type};
use borsh::{BorshDeserialize, BorshSerialize};
use keel_types::*;
use std::collections::{BTreeSet, VecDeque};
use std::sync::OnceLock;

/// Planned maintenance is an incident too: what one cancelled must outlive the next.
const INCIDENTS_MAX: usize = 4;
/// Seven days: who did not come back by then places new orders.
const KEPT_MS: u64 = 7 * 86_400_000;
/// 96 bytes each: 48 MB.
const ORDERS_MAX: usize = 500_000;
/// Orders of one section of a snapshot: few enough to hash again when one is restored, many enough that sections are few.
pub(crate) const ORDERS_PER_PAGE: usize = 1_024;

/// An order as a message would place what was left of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct CancelledOrder {
    pub hash: MessageHash,
    /// Index of the account.
    pub account: u32,
    pub market: MarketId,
    pub side: Side,
    /// LIMIT for one that had been triggered.
    pub order_type: OrderType,
    /// What had not been filled.
    pub size: Qty,
    pub price: Price,
    /// 0 unless it waited for its trigger.
    pub trigger_price: Price,
    pub time_in_force: TimeInForce,
    pub good_til: Ts,
    pub reduce_only: bool,
    pub self_trade: SelfTradeMode,
    pub client_id: u128,
}

impl CancelledOrder {
    fn of(order: &Order) -> CancelledOrder {
        let (order_type, trigger_price) = match order.untriggered {
            true => (order.order_type, order.trigger_price),
            false => (triggered_type(order.order_type), Price(0)),
        };
        CancelledOrder {
            hash: order.hash,
            account: order.account,
            market: order.market,
            side: order.side,
            order_type,
            size: order.remaining(),
            price: order.price,
            trigger_price,
            time_in_force: order.time_in_force,
            good_til: order.good_til,
            reduce_only: order.reduce_only,
            self_trade: order.self_trade,
            client_id: order.client_id,
        }
    }
}

/// Some of the orders that one safe-mode record cancelled, in the order of cancellation.
#[derive(Debug)]
pub(crate) struct Page {
    pub incident: IncidentId,
    /// When they were.
    pub ts: Ts,
    /// `None`: restored.
    orders: Vec<Option<CancelledOrder>>,
    /// Those that are not.
    left: usize,
    /// (part of the hash, place), sorted; made when the first one is looked for: cancelling is not the time for it.
    index: OnceLock<Vec<(u64, u32)>>,
    /// Of the page's section, as long as nothing in it changes.
    pub section_hash: OnceLock<(u64, [u8; 32])>,
}

/// A page as snapshots and digests have it.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct PageImage {
    pub incident: IncidentId,
    pub ts: Ts,
    pub orders: Vec<Option<CancelledOrder>>,
}

/// As [PageImage] has it.
impl BorshSerialize for Page {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (self.incident, self.ts, &self.orders).serialize(writer)
    }
}

impl Page {
    fn new(incident: IncidentId, ts: Ts) -> Page {
        Page::of_image(PageImage { incident, ts, orders: Vec::with_capacity(ORDERS_PER_PAGE) })
    }

    pub fn of_image(image: PageImage) -> Page {
        let left = image.orders.iter().flatten().count();
        let PageImage { incident, ts, orders } = image;
        Page { incident, ts, orders, left, index: OnceLock::new(), section_hash: OnceLock::new() }
    }

    /// The orders that are left.
    pub fn orders(&self) -> impl Iterator<Item = &CancelledOrder> {
        self.orders.iter().flatten()
    }

    fn find(&self, account: u32, hash: &MessageHash) -> Option<u32> {
        let part = |hash: &MessageHash| hash.0.to_raw()[0];
        let index = self.index.get_or_init(|| {
            let orders = (0..).zip(&self.orders);
            let mut index: Vec<_> =
                orders.filter_map(|(place, order)| order.as_ref().map(|order| (part(&order.hash), place))).collect();
            index.sort_unstable();
            index
        });
        let wanted = part(hash);
        let from = index.partition_point(|(part, _)| *part < wanted);
        let mut like = index[from..].iter().take_while(|(part, _)| *part == wanted).map(|(_, place)| *place);
        let is_meant = |order: &CancelledOrder| order.account == account && order.hash == *hash;
        like.find(|place| self.orders[*place as usize].as_ref().is_some_and(is_meant))
    }
}

/// Where a cancelled order is, for the length of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    page: usize,
    place: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cancelled {
    /// The oldest first. None is empty.
    pages: VecDeque<Page>,
}

impl Cancelled {
    /// From the pages of a snapshot; `None` if they cannot be what an engine with so many accounts and markets has kept.
    pub fn restored(pages: Vec<Page>, accounts: u32, markets: usize) -> Option<Cancelled> {
        let known = |order: &CancelledOrder| order.account < accounts && usize::from(order.market.0) < markets;
        let sound = |page: &Page| {
            page.left > 0 && page.orders.len() <= ORDERS_PER_PAGE && !page.orders.is_empty() && page.orders().all(known)
        };
        let rising = pages.windows(2).all(|pair| (pair[0].incident, pair[0].ts) <= (pair[1].incident, pair[1].ts));
        (rising && pages.iter().all(sound)).then(|| Cancelled { pages: pages.into() })
    }

    pub fn pages(&self) -> &VecDeque<Page> {
        &self.pages
    }

    /// An order of the account that the incident cancelled and that is not restored.
    pub fn find(&self, incident: IncidentId, account: u32, hash: &MessageHash) -> Option<(Place, CancelledOrder)> {
        let pages = self.pages.iter().enumerate().filter(|(_, page)| page.incident == incident);
        let mut found = pages.filter_map(|(n, page)| page.find(account, hash).map(|place| (n, place)));
        let (page, place) = found.next()?;
        self.pages[page].orders[place as usize].map(|order| (Place { page, place }, order))
    }

    /// Of one more safe-mode record; older ones make room.
    pub fn add(&mut self, pages: Vec<Page>) {
        if pages.is_empty() {
            return;
        }
        let last_record = pages.len();
        self.pages.extend(pages);
        let incidents: BTreeSet<IncidentId> = self.pages.iter().map(|page| page.incident).collect();
        let oldest = incidents.iter().rev().take(INCIDENTS_MAX).next_back().copied();
        let mut orders: usize = self.pages.iter().map(|page| page.left).sum();
        while self.pages.len() > last_record
            && self.pages.front().is_some_and(|page| orders > ORDERS_MAX || Some(page.incident) < oldest)
        {
            orders -= self.pages.pop_front().map_or(0, |page| page.left);
        }
    }

    /// Orders that are restored now.
    pub fn take_out(&mut self, restored: &[Place]) {
        for Place { page, place } in restored {
            let page = &mut self.pages[*page];
            let taken = page.orders[*place as usize].take();
            assert!(taken.is_some(), "restored an order twice");
            page.left -= 1;
            page.section_hash.take();
        }
        if !restored.is_empty() {
            self.pages.retain(|page| page.left > 0);
        }
    }

    /// What was kept long enough.
    pub fn forget(&mut self, now: Ts) {
        while self.pages.front().is_some_and(|page| page.ts.plus_ms(KEPT_MS) <= now) {
            self.pages.pop_front();
        }
    }

    /// Whether each page counts what is left of it.
    pub fn is_sound(&self) -> bool {
        self.pages.iter().all(|page| page.left > 0 && page.left == page.orders().count())
    }
}

impl Engine {
    /// Stages a page of what is about to be cancelled: every order is one that a user placed, the engine's own never rest.
    pub(crate) fn keep_cancelled(&mut self, slots: &[u32], incident: IncidentId) {
        let mut page = Page::new(incident, self.now.ts);
        page.orders.extend(slots.iter().map(|slot| Some(CancelledOrder::of(self.orders.get(*slot)))));
        page.left = slots.len();
        self.plan.cancelled.push(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u64) -> CancelledOrder {
        CancelledOrder {
            hash: MessageHash(Felt::from(n)),
            account: (n % 3) as u32,
            market: MarketId(0),
            side: Side::Buy,
            order_type: OrderType::Limit,
            size: Qty(1),
            price: Price(1),
            trigger_price: Price(0),
            time_in_force: TimeInForce::Gtc,
            good_til: Ts(0),
            reduce_only: false,
            self_trade: SelfTradeMode::CancelTaker,
            client_id: 0,
        }
    }

    fn record(incident: u32, ts: Ts, orders: std::ops::Range<u64>) -> Vec<Page> {
        let orders: Vec<_> = orders.map(|n| Some(order(n))).collect();
        let page = |orders: &[Option<CancelledOrder>]| {
            Page::of_image(PageImage { incident: IncidentId(incident), ts, orders: orders.to_vec() })
        };
        orders.chunks(ORDERS_PER_PAGE).map(page).collect()
    }

    #[test]
    fn an_order_is_kept_in_few_bytes() {
        assert!(size_of::<Option<CancelledOrder>>() <= 112, "{}", size_of::<Option<CancelledOrder>>());
    }

    #[test]
    fn an_order_is_found_by_incident_account_and_hash_until_it_is_restored() {
        let mut kept = Cancelled::default();
        kept.add(record(1, Ts(1), 0..3_000));
        kept.add(record(2, Ts(2), 3_000..3_010));
        let hash = |n: u64| MessageHash(Felt::from(n));
        for n in [0, 1_023, 1_024, 2_999] {
            let (_, found) = kept.find(IncidentId(1), (n % 3) as u32, &hash(n)).expect("kept");
            assert_eq!(found, order(n));
            assert_eq!(kept.find(IncidentId(1), ((n + 1) % 3) as u32, &hash(n)), None, "another account's");
            assert_eq!(kept.find(IncidentId(2), (n % 3) as u32, &hash(n)), None, "another incident's");
        }
        let of_second: Vec<_> =
            (3_000..3_010).map(|n| kept.find(IncidentId(2), (n % 3) as u32, &hash(n)).expect("kept").0).collect();
        kept.take_out(&of_second[..9]);
        assert_eq!(kept.find(IncidentId(2), (3_000 % 3) as u32, &hash(3_000)), None);
        assert!(kept.find(IncidentId(2), (3_009 % 3) as u32, &hash(3_009)).is_some() && kept.is_sound());
        kept.take_out(&of_second[9..]);
        assert!(kept.pages().iter().all(|page| page.incident == IncidentId(1)), "a page without orders goes");
    }

    #[test]
    fn the_oldest_go_by_incident_by_time_and_by_number_but_never_the_last_record() {
        let incidents = |kept: &Cancelled| kept.pages.iter().map(|page| page.incident.0).collect::<BTreeSet<_>>();
        let mut kept = Cancelled::default();
        for incident in 1..=6 {
            kept.add(record(incident, Ts::from_ms(u64::from(incident)), 0..10));
        }
        assert_eq!(incidents(&kept), BTreeSet::from([3, 4, 5, 6]));
        kept.forget(Ts::from_ms(4 + KEPT_MS - 1));
        assert_eq!(incidents(&kept), BTreeSet::from([4, 5, 6]));
        kept.forget(Ts::from_ms(4 + KEPT_MS));
        assert_eq!(incidents(&kept), BTreeSet::from([5, 6]));
        kept.add(record(7, Ts::from_ms(7), 0..ORDERS_MAX as u64 - 5));
        assert_eq!(incidents(&kept), BTreeSet::from([7]));
        kept.add(record(8, Ts::from_ms(8), 0..ORDERS_MAX as u64 + 1));
        assert_eq!(incidents(&kept), BTreeSet::from([8]));
    }
}
