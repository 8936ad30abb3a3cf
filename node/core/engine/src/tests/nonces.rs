use super::check;
use super::script::check_in;
use super::world::{World, genesis};
use expect_test::expect;

#[test]
fn the_identical_message_gets_its_first_outcome_and_places_nothing() {
    check(
        "a buy 1 @ 99 | a again | show spot | b sell 1 @ 99 | a again | a twist | show spot",
        expect![[r#"
        #1 a buy 1 @ 99 OPEN
        #2 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
        #3 bids [1@99] asks []
        #4 fill 1 1 @ 99: maker a fee 0.0099, taker b fee 0.0495
        #4 a buy 1 @ 99 FILLED
        #4 b sell 1 @ 99 FILLED
        #5 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
        #6 a rejected: NONCE_USED, nonce kept
        #7 bids [] asks []"#]],
    );
}

#[test]
fn a_rejected_message_has_used_its_nonce() {
    check(
        "a buy 500 @ 99 | a again | a twist",
        expect![[r#"
        #1 a rejected: INSUFFICIENT_BALANCE
        #2 a replayed: Rejected(InsufficientBalance)
        #3 a rejected: NONCE_USED, nonce kept"#]],
    );
}

#[test]
fn a_message_out_of_its_time_keeps_its_nonce() {
    check(
        "a buy 1 @ 99 late | a again | a buy 1 @ 99 early | wait 1s | a again | a again",
        expect![[r#"
        #1 a rejected: EXPIRED, nonce kept
        #2 a rejected: EXPIRED, nonce kept
        #3 a rejected: VALID_UNTIL_TOO_FAR, nonce kept
        #5 a buy 1 @ 99 OPEN
        #6 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }"#]],
    );
}

#[test]
fn nonces_are_kept_a_minute_beyond_their_time() {
    // Valid until 60 s ahead, kept to 120 s; forgotten by the first tick after.
    check(
        "a buy 1 @ 99 | wait 61s | tick | a again | wait 59s | a again | tick | a again | a cancel 1",
        expect![[r#"
        #1 a buy 1 @ 99 OPEN
        #4 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
        #6 a replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
        #8 a rejected: EXPIRED, nonce kept
        #9 a buy 1 @ 99 CANCELLED USER_CANCEL by USER
        #9 a cancelled 1"#]],
    );
}

#[test]
fn a_full_window_refuses_all_but_cancels() {
    let mut rules = genesis();
    rules.limits.nonces_per_account = 2;
    check_in(
        World::funded(rules),
        "a buy 1 @ 99 | a buy 1 @ 98 | a cancel 1 | a cancel 2 | a cancel 2 | a withdraw 1 USDC",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a rejected: NONCE_WINDOW_FULL, nonce kept
            #3 a buy 1 @ 99 CANCELLED USER_CANCEL by USER
            #3 a cancelled 1
            #4 a rejected: UNKNOWN_ORDER
            #5 a rejected: NONCE_WINDOW_FULL, nonce kept
            #6 a rejected: NONCE_WINDOW_FULL, nonce kept"#]],
    );
}
