//! Floods of messages.

use super::{World, check_in, genesis};
use expect_test::expect;

/// A window of 10: a's registration and nine orders, five of which rest, fill it; a refused message keeps its nonce. Signed cancels have a window of
/// their own, of 10; those of a logged-in WebSocket need none. b is not held up. The messages are valid for 60 s and kept 60 s more, to the
/// next 10 s: after 130 s a may speak again, and what it says twice happens once: b finds 1 to sell to, not 2.
/// a bought 2 at 95: 10,000 - 190 - 2 x 0.0095; b 10,000 + 190 - 2 x 0.0475; fees 0.114.
#[test]
fn a_flood_fills_the_window_of_its_sender_who_can_still_cancel_and_speaks_again_when_it_has_passed() {
    let mut rules = genesis();
    rules.limits.nonces_per_account = 10;
    check_in(
        World::funded(rules),
        "a buy 1 @ 94 cid=3 | times 11 a buy 1 @ 95 | a again | a withdraw 1 USDC | b sell 1 @ 95 ioc
         a cancel cid 3 | times 10 a cancel cid 7 | a cancel all | a ws cancel all
         wait 119s | tick | a buy 1 @ 95 | wait 11s | tick | oracle spot 100 | a buy 1 @ 95 | a again | a twist | b sell 2 @ 95 ioc | a again
         a cancel all | show all",
        expect![[r#"
            #1 a buy 1 @ 94 OPEN
            #2 4x a buy 1 @ 95 OPEN
            #2 4x a rejected: TOO_MANY_ORDERS
            #2 3x a rejected: NONCE_WINDOW_FULL, nonce kept
            #3 a rejected: NONCE_WINDOW_FULL, nonce kept
            #4 a rejected: NONCE_WINDOW_FULL, nonce kept
            #5 fill 1 1 @ 95: maker a fee 0.0095, taker b fee 0.0475
            #5 a buy 1 @ 95 FILLED
            #5 b sell 1 @ 95 FILLED
            #6 a buy 1 @ 94 CANCELLED USER_CANCEL by USER
            #6 a cancelled 1
            #7 9x a rejected: UNKNOWN_ORDER
            #7 1x a rejected: NONCE_WINDOW_FULL, nonce kept
            #8 a rejected: NONCE_WINDOW_FULL, nonce kept
            #9 a buy 1 @ 95 CANCELLED USER_CANCEL_ALL by USER
            #9 a buy 1 @ 95 CANCELLED USER_CANCEL_ALL by USER
            #9 a buy 1 @ 95 CANCELLED USER_CANCEL_ALL by USER
            #9 a cancelled 3
            #12 a rejected: NONCE_WINDOW_FULL, nonce kept
            #16 a buy 1 @ 95 OPEN
            #17 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
            #18 a rejected: NONCE_USED, nonce kept
            #19 fill 2 1 @ 95: maker a fee 0.0095, taker b fee 0.0475
            #19 a buy 1 @ 95 FILLED
            #19 b sell 2 @ 95 CANCELLED 1/2 IOC_REMAINDER by ENGINE
            #20 a rejected: NONCE_USED, nonce kept
            #21 a cancelled 0
            #22 a 9809.981 USDC 102 ETH
            #22 b 10189.905 USDC 98 ETH
            #22 c 10000 USDC 100 ETH
            #22 d 10000 USDC 100 ETH
            #22 fees 0.114 insurance 0
            #22 in all 40000 USDC"#]],
    );
}
