//! Orders that wait for the mark.

use super::check;
use expect_test::expect;

#[test]
fn stops_and_take_profits_fire_when_the_mark_reaches_them() {
    check(
        "a buy 1 @ market stop=102 | a sell 1 @ market stop=98 | a buy 1 @ market tp=97 | a sell 1 @ 103 tp=103
         b sell 5 @ 101.5 | b buy 5 @ 97.5 | tick | price spot 101.99 | tick | price spot 102 | tick | tick | price spot 103 | tick
         price spot 98 | tick | price spot 97 | tick | show spot",
        expect![[r#"
            #1 a buy 1 @ 0 UNTRIGGERED
            #2 a sell 1 @ 0 UNTRIGGERED
            #3 a buy 1 @ 0 UNTRIGGERED
            #4 a sell 1 @ 103 UNTRIGGERED
            #5 b sell 5 @ 101.5 OPEN
            #6 b buy 5 @ 97.5 OPEN
            #8 price of 0 101.99
            #10 price of 0 102
            #11 a buy 1 @ 0 TRIGGERED TRIGGERED by ENGINE
            #11 fill 1 1 @ 101.5: maker b fee 0.01015, taker a fee 0.05075
            #11 b sell 5 @ 101.5 PARTIALLY_FILLED 1/5
            #11 a buy 1 @ 112.2 FILLED
            #13 price of 0 103
            #14 a sell 1 @ 103 TRIGGERED TRIGGERED by ENGINE
            #14 a sell 1 @ 103 OPEN
            #15 price of 0 98
            #16 a sell 1 @ 0 TRIGGERED TRIGGERED by ENGINE
            #16 fill 2 1 @ 97.5: maker b fee 0.00975, taker a fee 0.04875
            #16 b buy 5 @ 97.5 PARTIALLY_FILLED 1/5
            #16 a sell 1 @ 88.2 FILLED
            #17 price of 0 97
            #18 a buy 1 @ 0 TRIGGERED TRIGGERED by ENGINE
            #18 fill 3 1 @ 101.5: maker b fee 0.01015, taker a fee 0.05075
            #18 b sell 5 @ 101.5 PARTIALLY_FILLED 2/5
            #18 a buy 1 @ 106.7 FILLED
            #19 bids [4@97.5] asks [3@101.5 1@103]"#]],
    );
}

#[test]
fn an_untriggered_order_reserves_nothing_and_counts_among_the_orders() {
    check(
        "a sell 1000 @ market stop=90 | a buy 900 @ 100 perp stop=101 | a buy 1 @ 99 stop=101 cid=7 | a buy 1 @ 99 stop=101 cid=7 | show a | show spot
         a buy 1 @ 90 | a buy 1 @ 90 | a buy 1 @ 90 | a buy 1 @ 90 | a buy 1 @ 90 stop=101 | a cancel cid 7 | a cancel 1 | a cancel 1
         a cancel all | show a",
        expect![[r#"
            #1 a sell 1000 @ 0 UNTRIGGERED
            #2 a buy 900 @ 100 perp UNTRIGGERED
            #3 a buy 1 @ 99 UNTRIGGERED
            #4 a rejected: DUPLICATE_CLIENT_ID
            #5 a 10000 USDC 100 ETH
            #6 bids [] asks []
            #7 a buy 1 @ 90 OPEN
            #8 a buy 1 @ 90 OPEN
            #9 a buy 1 @ 90 OPEN
            #10 a rejected: TOO_MANY_ORDERS
            #11 a rejected: TOO_MANY_ORDERS
            #12 a buy 1 @ 99 CANCELLED USER_CANCEL by USER
            #12 a cancelled 1
            #13 a sell 1000 @ 0 CANCELLED USER_CANCEL by USER
            #13 a cancelled 1
            #14 a rejected: ORDER_NOT_OPEN
            #15 a buy 1 @ 90 CANCELLED USER_CANCEL_ALL by USER
            #15 a buy 1 @ 90 CANCELLED USER_CANCEL_ALL by USER
            #15 a buy 1 @ 90 CANCELLED USER_CANCEL_ALL by USER
            #15 a buy 900 @ 100 perp CANCELLED USER_CANCEL_ALL by USER
            #15 a cancelled 4
            #16 a 10000 USDC 100 ETH"#]],
    );
}

#[test]
fn a_trigger_needs_a_price_on_the_grid_and_nobody_else_has_one() {
    check(
        "a buy 1 @ 99 stop | a buy 1 @ 99 stop=0 | a buy 1 @ 99 stop=101.001 | a buy 1 @ 99 stop=10001 | a buy 1 @ 0 stop=101 | a buy 1 @ 99 trigger=101
         a buy 1 @ market stop=101 post | a buy 0.01 @ market stop=90 | a buy 10000 @ market stop=101 | a buy 1 @ 99 stop=101 ro",
        expect![[r#"
            #1 a rejected: TRIGGER_PRICE_REQUIRED
            #2 a rejected: TRIGGER_PRICE_REQUIRED
            #3 a rejected: OFF_TICK
            #4 a rejected: PRICE_OUT_OF_RANGE
            #5 a rejected: PRICE_REQUIRED
            #6 a rejected: INCONSISTENT_FIELDS
            #7 a rejected: INCONSISTENT_FIELDS
            #8 a buy 0.01 @ 0 UNTRIGGERED
            #9 a rejected: NOTIONAL_TOO_LARGE
            #10 a rejected: UNSUPPORTED_FLAG"#]],
    );
}

#[test]
fn one_tick_places_one_triggered_order_the_oldest_first() {
    check(
        "a buy 1 @ 101 stop=102 | b buy 1 @ market tp=105 | a buy 1 @ 101 perp stop=101 | a buy 1 @ 101 stop=101.5 | price spot 102 | price perp 102
         tick | tick | tick | tick | tick | show spot | show perp",
        expect![[r#"
            #1 a buy 1 @ 101 UNTRIGGERED
            #2 b buy 1 @ 0 UNTRIGGERED
            #3 a buy 1 @ 101 perp UNTRIGGERED
            #4 a buy 1 @ 101 UNTRIGGERED
            #5 price of 0 102
            #6 price of 1 102
            #7 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #7 a buy 1 @ 101 OPEN
            #8 b buy 1 @ 0 TRIGGERED TRIGGERED by ENGINE
            #8 b buy 1 @ 112.2 CANCELLED IOC_REMAINDER by ENGINE
            #9 a buy 1 @ 101 perp TRIGGERED TRIGGERED by ENGINE
            #9 a buy 1 @ 101 perp OPEN
            #10 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #10 a buy 1 @ 101 OPEN
            #12 bids [1@101 1@101] asks []
            #13 bids [1@101] asks []"#]],
    );
}

#[test]
fn a_triggered_order_is_placed_under_the_checks_of_a_new_one() {
    // No balance; would cross; kills; not enough margin: each ends with its reason and leaves nothing behind.
    check(
        "b sell 1 @ 101 | a sell 200 @ market stop=99 | a buy 1 @ 101 post stop=101 | a buy 2 @ 101 fok stop=101 | a buy 1 @ 101 fok stop=101
         b sell 2000 @ 101 perp post | c buy 1000 @ 101 perp stop=101 | a buy 5 @ 99 ioc stop=101
         price spot 101 | tick | tick | tick | tick | price perp 101 | tick | price spot 98 | tick | tick | show a | show c | show spot",
        expect![[r#"
            #1 b sell 1 @ 101 OPEN
            #2 a sell 200 @ 0 UNTRIGGERED
            #3 a buy 1 @ 101 UNTRIGGERED
            #4 a buy 2 @ 101 UNTRIGGERED
            #5 a buy 1 @ 101 UNTRIGGERED
            #6 b rejected: POSITION_LIMIT
            #7 c buy 1000 @ 101 perp UNTRIGGERED
            #8 a buy 5 @ 99 UNTRIGGERED
            #9 price of 0 101
            #10 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #10 a trigger refused: POST_ONLY_WOULD_CROSS
            #10 a buy 1 @ 101 CANCELLED TRIGGER_REFUSED by ENGINE
            #11 a buy 2 @ 101 TRIGGERED TRIGGERED by ENGINE
            #11 a buy 2 @ 101 CANCELLED FILL_OR_KILL by ENGINE
            #12 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #12 fill 1 1 @ 101: maker b fee 0.0101, taker a fee 0.0505
            #12 b sell 1 @ 101 FILLED
            #12 a buy 1 @ 101 FILLED
            #13 a buy 5 @ 99 TRIGGERED TRIGGERED by ENGINE
            #13 a buy 5 @ 99 CANCELLED IOC_REMAINDER by ENGINE
            #14 price of 1 101
            #15 c buy 1000 @ 101 perp TRIGGERED TRIGGERED by ENGINE
            #15 c trigger refused: INSUFFICIENT_MARGIN
            #15 c buy 1000 @ 101 perp CANCELLED TRIGGER_REFUSED by ENGINE
            #16 price of 0 98
            #17 a sell 200 @ 0 TRIGGERED TRIGGERED by ENGINE
            #17 a trigger refused: INSUFFICIENT_BALANCE
            #17 a sell 200 @ 0 CANCELLED TRIGGER_REFUSED by ENGINE
            #19 a 9898.9495 USDC 101 ETH
            #20 c 10000 USDC 100 ETH
            #21 bids [] asks []"#]],
    );
}

#[test]
fn a_reduce_only_trigger_shrinks_to_what_there_is_to_reduce() {
    check(
        "a buy 5 @ 100 perp | b sell 5 @ 100 perp | a sell 10 @ market perp stop=98 ro | a sell 3 @ market perp stop=97 ro | c buy 9 @ 97 perp
         price perp 98 | tick | price perp 97 | tick | show a | show perp",
        expect![[r#"
            #1 a buy 5 @ 100 perp OPEN
            #2 fill 1 5 @ 100: maker a fee 0.1, taker b fee 0.25
            #2 a buy 5 @ 100 perp FILLED
            #2 b sell 5 @ 100 perp FILLED
            #3 a sell 10 @ 0 perp UNTRIGGERED
            #4 a sell 3 @ 0 perp UNTRIGGERED
            #5 c buy 9 @ 97 perp OPEN
            #6 price of 1 98
            #7 a sell 10 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #7 fill 2 5 @ 97: maker c fee 0.097, taker a fee 0.2425 pnl -15
            #7 c buy 9 @ 97 perp PARTIALLY_FILLED 5/9
            #7 a sell 5 @ 88.2 perp FILLED
            #8 price of 1 97
            #9 a sell 3 @ 0 perp TRIGGERED TRIGGERED by ENGINE
            #9 a sell 3 @ 0 perp CANCELLED REDUCE_ONLY by RISK
            #10 a 9984.6575 USDC 100 ETH; perp 0 cost 0
            #11 bids [4@97] asks []"#]],
    );
}

#[test]
fn an_untriggered_order_can_be_modified_and_expires() {
    check(
        "a buy 2 @ 101 stop=105 | a modify 1 3 @ 102 | a modify 1 3 @ 102 | a modify 1 3 @ 0 | a modify 1 1 @ 102 | b sell 5 @ 102 | a sell 1 @ market stop=90 gtt=3s
         a modify 7 2 @ 0 | a modify 7 2 @ 89 | price spot 105 | tick | wait 3s | tick | show spot",
        expect![[r#"
            #1 a buy 2 @ 101 UNTRIGGERED
            #2 a buy 3 @ 102 UNTRIGGERED MODIFIED by USER
            #3 a rejected: NOTHING_TO_MODIFY
            #4 a rejected: PRICE_REQUIRED
            #5 a buy 1 @ 102 UNTRIGGERED MODIFIED by USER
            #6 b sell 5 @ 102 OPEN
            #7 a sell 1 @ 0 UNTRIGGERED
            #8 a sell 2 @ 0 UNTRIGGERED MODIFIED by USER
            #9 a sell 2 @ 89 UNTRIGGERED MODIFIED by USER
            #10 price of 0 105
            #11 a buy 1 @ 102 TRIGGERED TRIGGERED by ENGINE
            #11 fill 1 1 @ 102: maker b fee 0.0102, taker a fee 0.051
            #11 b sell 5 @ 102 PARTIALLY_FILLED 1/5
            #11 a buy 1 @ 102 FILLED
            #13 a sell 2 @ 89 EXPIRED GOOD_TIL by ENGINE
            #14 bids [] asks [4@102]"#]],
    );
}

#[test]
fn triggers_wait_for_the_grace_and_for_a_market_to_trust() {
    check(
        "halt OPERATOR | phase READ_ONLY | phase SPOT | phase REDUCE_ONLY | a buy 1 @ market perp stop=101 ro | phase OPEN | a buy 1 @ 101 stop=101 | price spot 101 | tick
         wait 119.9s | price spot 101 | tick | price spot 100 | wait 0.1s | tick | price spot 101 | tick
         a buy 1 @ 101 stop=102 | price spot 150 | tick | wait 11s | price spot 102 | wait 11s | tick | price spot 102 | tick",
        expect![[r#"
            #1 safe mode 1 OPERATOR cancelled 0
            #1 OPEN -> HALTED
            #2 HALTED -> READ_ONLY
            #3 READ_ONLY -> SPOT
            #4 SPOT -> REDUCE_ONLY
            #5 a buy 1 @ 0 perp UNTRIGGERED
            #6 REDUCE_ONLY -> OPEN
            #7 a buy 1 @ 101 UNTRIGGERED
            #8 price of 0 101
            #11 price of 0 101
            #13 price of 0 100
            #16 price of 0 101
            #17 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #17 a buy 1 @ 101 OPEN
            #18 a buy 1 @ 101 UNTRIGGERED
            #19 held 0 at 150
            #22 price of 0 102
            #25 price of 0 102
            #26 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #26 a buy 1 @ 101 OPEN"#]],
    );
}

#[test]
fn safe_mode_cancels_conditional_orders_in_their_place() {
    check(
        "a sell 1 @ 103 | b buy 1 @ 98 stop=101 | c buy 1 @ 99 | a buy 1 @ 98 | b sell 2 @ market stop=90 | b sell 2 @ 103 tp=104 | d buy 1 @ 97 perp stop=110
         halt OPERATOR | show spot | tick",
        expect![[r#"
            #1 a sell 1 @ 103 OPEN
            #2 b buy 1 @ 98 UNTRIGGERED
            #3 c buy 1 @ 99 OPEN
            #4 a buy 1 @ 98 OPEN
            #5 b sell 2 @ 0 UNTRIGGERED
            #6 b sell 2 @ 103 UNTRIGGERED
            #7 d buy 1 @ 97 perp UNTRIGGERED
            #8 b buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a buy 1 @ 98 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 c buy 1 @ 99 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 b sell 2 @ 0 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 a sell 1 @ 103 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 b sell 2 @ 103 CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 d buy 1 @ 97 perp CANCELLED SAFE_MODE by SAFE_MODE incident 1
            #8 safe mode 1 OPERATOR cancelled 7
            #8 OPEN -> HALTED
            #9 bids [] asks []"#]],
    );
}

#[test]
fn a_fired_stop_that_rests_can_be_cancelled_and_keeps_its_client_id() {
    check(
        "a buy 1 @ 101 stop=101 cid=5 | price spot 101 | tick | a buy 1 @ 99 cid=5 | show spot | b sell 0.4 @ 101 | a modify 1 0.7 @ 101 | a cancel cid 5 | show a",
        expect![[r#"
            #1 a buy 1 @ 101 UNTRIGGERED
            #2 price of 0 101
            #3 a buy 1 @ 101 TRIGGERED TRIGGERED by ENGINE
            #3 a buy 1 @ 101 OPEN
            #4 a rejected: DUPLICATE_CLIENT_ID
            #5 bids [1@101] asks []
            #6 fill 1 0.4 @ 101: maker a fee 0.00404, taker b fee 0.0202
            #6 a buy 1 @ 101 PARTIALLY_FILLED 0.4/1
            #6 b sell 0.4 @ 101 FILLED
            #7 a buy 0.7 @ 101 PARTIALLY_FILLED 0.4/0.7 MODIFIED by USER
            #8 a buy 0.7 @ 101 CANCELLED 0.4/0.7 USER_CANCEL by USER
            #8 a cancelled 1
            #9 a 9959.59596 USDC 100.4 ETH"#]],
    );
}
