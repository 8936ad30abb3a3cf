//! Session keys and transfers.

use super::check;
use expect_test::expect;

#[test]
fn a_session_key_trades_and_nothing_else() {
    check(
        "a buy 1 @ 99 by k | a grant k 60s | a buy 1 @ 99 by k | b buy 1 @ 99 by k | a modify 3 2 @ 99 by k | a cancel 3 by k | a cancel all by k | a schedule 5s by k
         a login by k | a withdraw 1 USDC by k | a again | a transfer 1 USDC b by k | a grant l 60s by k | a revoke k by k",
        expect![[r#"
            #1 a rejected: UNKNOWN_SESSION_KEY, nonce kept
            #2 a session key set
            #3 a buy 1 @ 99 OPEN
            #4 b rejected: UNKNOWN_SESSION_KEY, nonce kept
            #5 a buy 2 @ 99 OPEN MODIFIED by USER
            #6 a buy 2 @ 99 CANCELLED USER_CANCEL by USER
            #6 a cancelled 1
            #7 a cancelled 0
            #8 a cancels all at +5000 ms
            #9 a session opened
            #10 a rejected: SESSION_KEY_FORBIDDEN, nonce kept
            #11 a rejected: SESSION_KEY_FORBIDDEN, nonce kept
            #12 a rejected: SESSION_KEY_FORBIDDEN, nonce kept
            #13 a rejected: SESSION_KEY_FORBIDDEN, nonce kept
            #14 a rejected: SESSION_KEY_FORBIDDEN, nonce kept"#]],
    );
}

#[test]
fn a_revoked_or_expired_key_signs_nothing_and_uses_up_no_nonce() {
    check(
        "a grant k 10s | a buy 1 @ 99 by k | a revoke k | a buy 1 @ 98 by k | a revoke k | a revoke l | a grant k 10s | a buy 1 @ 97 by k | wait 10s
         a buy 1 @ 96 by k | a again | a grant k 10s | a again | a buy 1 @ 95 by k",
        expect![[r#"
            #1 a session key set
            #2 a buy 1 @ 99 OPEN
            #3 a session key revoked
            #4 a rejected: UNKNOWN_SESSION_KEY, nonce kept
            #5 a rejected: UNKNOWN_SESSION_KEY
            #6 a rejected: UNKNOWN_SESSION_KEY
            #7 a session key set
            #8 a buy 1 @ 97 OPEN
            #10 a rejected: SESSION_KEY_EXPIRED, nonce kept
            #11 a rejected: SESSION_KEY_EXPIRED, nonce kept
            #12 a session key set
            #13 a replayed: SessionKeySet
            #14 a buy 1 @ 95 OPEN"#]],
    );
}

#[test]
fn a_key_stays_inside_its_markets_and_its_largest_order() {
    check(
        "a grant k 60s perp,btc max=200 | a buy 1 @ 99 by k | a buy 2 @ 100 perp by k | a buy 2.001 @ 100 perp by k | a modify 3 2 @ 100.01 by k | a modify 3 1 @ 150 by k
         a sell 2 @ market perp stop=101 by k | a sell 2 @ market perp stop=99 by k | a buy 1 @ 99 | a cancel 9 by k | a modify 9 2 @ 99 by k | a cancel all by k
         a cancel all spot by k | a cancel all perp by k | a schedule 5s by k | a login by k | a grant k 60s | a cancel all by k",
        expect![[r#"
            #1 a session key set
            #2 a rejected: SESSION_KEY_SCOPE
            #3 a buy 2 @ 100 perp OPEN
            #4 a rejected: SESSION_KEY_SCOPE
            #5 a rejected: SESSION_KEY_SCOPE
            #6 a buy 1 @ 150 perp RECEIVED MODIFIED by USER
            #6 a buy 1 @ 150 perp CANCELLED PRICE_BAND by ENGINE
            #7 a rejected: SESSION_KEY_SCOPE
            #8 a sell 2 @ 0 perp UNTRIGGERED
            #9 a buy 1 @ 99 OPEN
            #10 a rejected: SESSION_KEY_SCOPE
            #11 a rejected: SESSION_KEY_SCOPE
            #12 a rejected: SESSION_KEY_SCOPE
            #13 a rejected: SESSION_KEY_SCOPE
            #14 a sell 2 @ 0 perp CANCELLED USER_CANCEL_ALL by USER
            #14 a cancelled 1
            #15 a rejected: SESSION_KEY_SCOPE
            #16 a rejected: SESSION_KEY_SCOPE
            #17 a session key set
            #18 a buy 1 @ 99 CANCELLED USER_CANCEL_ALL by USER
            #18 a cancelled 1"#]],
    );
}

#[test]
fn a_grant_names_a_key_an_end_and_markets_that_exist() {
    check(
        "a grant 0 60s | a grant m 60s | a grant k 0s | a grant k 60s nowhere | a grant k 60s btc,perp | a grant k 60s perp,perp | z grant k 60s
         a grant k 60s perp | a grant k 60s perp | a grant k 90s perp,btc max=5",
        expect![[r#"
            #1 a rejected: SESSION_KEY_FORBIDDEN
            #2 a rejected: SESSION_KEY_FORBIDDEN
            #3 a rejected: BAD_EXPIRY
            #4 a rejected: UNKNOWN_MARKET
            #5 a rejected: INCONSISTENT_FIELDS
            #6 a rejected: INCONSISTENT_FIELDS
            #7 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #8 a session key set
            #9 a session key set
            #10 a session key set"#]],
    );
}

#[test]
fn an_account_has_so_many_live_keys_and_no_more() {
    use super::world::{World, genesis};
    use keel_types::*;
    let mut world = World::funded(genesis());
    let grant = |world: &mut World, n: u64, life_ms: u64| {
        let terms = SessionTerms { expiry: world.now.plus_ms(life_ms), markets: Vec::new(), max_order_notional: Amount(0) };
        let signed = world.sign('a');
        let key = StarkKey(Felt::from(0x6000 + n));
        let events = world.apply_fast(Command::SessionKey(GrantSessionKey { signed, key, terms }));
        matches!(events[..], [Event::SessionKeySet { .. }])
    };
    for n in 0..32 {
        assert!(grant(&mut world, n, if n == 0 { 5_000 } else { 60_000 }));
    }
    assert!(!grant(&mut world, 32, 60_000), "a 33rd live key");
    assert!(grant(&mut world, 7, 90_000), "new terms for one of them");
    world.now = world.now.plus_ms(5_000);
    assert!(grant(&mut world, 32, 60_000), "one of them has expired");
    assert!(!grant(&mut world, 0, 60_000), "and comes back only for another");
    world.check_history();
}

#[test]
fn keys_are_revoked_from_read_only_on_and_granted_from_spot_on() {
    check(
        "a grant k 600s | halt OPERATOR | a revoke k | phase READ_ONLY | a grant l 60s | a revoke k | a login | phase SPOT | a grant l 60s",
        expect![[r#"
            #1 a session key set
            #2 safe mode 1 OPERATOR cancelled 0
            #2 OPEN -> HALTED
            #3 a rejected: PHASE_FORBIDS
            #4 HALTED -> READ_ONLY
            #5 a rejected: PHASE_FORBIDS
            #6 a session key revoked
            #7 a session opened
            #8 READ_ONLY -> SPOT
            #9 a session key set"#]],
    );
}

#[test]
fn a_transfer_moves_what_a_withdrawal_could_take() {
    check(
        "a transfer 100 USDC b | a transfer 5 ETH z | show a | show b | show z | a transfer 9900.00000001 USDC b | a transfer 0 USDC b | a transfer 1 NONE b
         a transfer 1 USDC a | a transfer 1 USDC nobody | z transfer 1 ETH a | a buy 10 @ 99 | a transfer 9000 USDC b | a cancel 12 | a transfer 9000 USDC b
         z register | z transfer 5 ETH a | show z",
        expect![[r#"
            #1 a transferred 100 to b
            #2 a transferred 5 to z
            #3 a 9900 USDC 95 ETH
            #4 b 10100 USDC 100 ETH
            #5 z 0 USDC 5 ETH
            #6 a rejected: INSUFFICIENT_BALANCE
            #7 a rejected: AMOUNT_NOT_POSITIVE
            #8 a rejected: UNKNOWN_ASSET
            #9 a rejected: BAD_RECIPIENT
            #10 a rejected: BAD_RECIPIENT
            #11 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #12 a buy 10 @ 99 OPEN
            #13 a rejected: INSUFFICIENT_BALANCE
            #14 a buy 10 @ 99 CANCELLED USER_CANCEL by USER
            #14 a cancelled 1
            #15 a transferred 9000 to b
            #16 z registered
            #17 z transferred 5 to a
            #18 z 0 USDC 0 ETH"#]],
    );
}

#[test]
fn a_transfer_leaves_initial_margin_and_waits_for_a_held_market() {
    check(
        "a buy 500 @ 100 perp | a transfer 5000 USDC b | a transfer 4900 USDC b | b sell 1 @ 100 perp | price perp 120 | a transfer 1 USDC b | a transfer 1 ETH b
         halt OPERATOR | a transfer 1 USDC c | phase READ_ONLY | c transfer 1 USDC d | phase SPOT | c transfer 1 USDC d",
        expect![[r#"
            #1 a buy 500 @ 100 perp OPEN
            #2 a rejected: INSUFFICIENT_MARGIN
            #3 a transferred 4900 to b
            #4 fill 1 1 @ 100: maker a fee 0.02, taker b fee 0.05
            #4 a buy 500 @ 100 perp PARTIALLY_FILLED 1/500
            #4 b sell 1 @ 100 perp FILLED
            #5 held 1 at 120
            #6 a rejected: MARKET_HELD
            #7 a rejected: MARKET_HELD
            #8 a buy 500 @ 100 perp CANCELLED 1/500 SAFE_MODE by SAFE_MODE incident 1
            #8 safe mode 1 OPERATOR cancelled 1
            #8 OPEN -> HALTED
            #9 a rejected: PHASE_FORBIDS
            #10 HALTED -> READ_ONLY
            #11 c rejected: PHASE_FORBIDS
            #12 READ_ONLY -> SPOT
            #13 c transferred 1 to d"#]],
    );
}

#[test]
fn the_exchanges_own_accounts_send_nothing() {
    use super::world::{World, genesis};
    use keel_types::*;
    let mut world = World::funded(genesis());
    for account in [world.genesis.fee_account, world.genesis.insurance_account] {
        let register = Register { signed: Signed { account, ..world.sign('x') }, key: StarkKey(Felt::from(5)), template: 0 };
        world.apply(Command::Register(register));
        let signed = Signed { account, ..world.sign('x') };
        let transfer = Transfer { signed, recipient: world.genesis.exchange, asset: QUOTE, amount: Amount(1) };
        let events = world.apply(Command::Transfer(transfer));
        assert!(matches!(events[..], [Event::Rejected { reject: Reject::AccountReserved, .. }]), "{events:?}");
    }
}
