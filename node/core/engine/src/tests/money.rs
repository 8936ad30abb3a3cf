use super::check;
use super::script::check_in;
use super::world::{World, genesis};
use expect_test::expect;

#[test]
fn spot_orders_reserve_what_they_can_cost_and_release_it_exactly() {
    check(
        "a buy 3 @ 99 | show a | b sell 1 @ 98 | show a | show b | a cancel 1 | show a | show funds
         a sell 3 @ 105 | show a | a cancel 9 | show a",
        expect![[r#"
            #1 a buy 3 @ 99 OPEN
            #2 a 10000 USDC (297.1485 reserved) 100 ETH
            #3 fill 1 1 @ 99: maker a fee 0.0099, taker b fee 0.0495
            #3 a buy 3 @ 99 PARTIALLY_FILLED 1/3
            #3 b sell 1 @ 98 FILLED
            #4 a 9900.9901 USDC (198.099 reserved) 101 ETH
            #5 b 10098.9505 USDC 99 ETH
            #6 a buy 3 @ 99 CANCELLED 1/3 USER_CANCEL by USER
            #6 a cancelled 1
            #7 a 9900.9901 USDC 101 ETH
            #8 fees 0.0594 insurance 0
            #9 a sell 3 @ 105 OPEN
            #10 a 9900.9901 USDC 101 ETH (3 reserved)
            #11 a sell 3 @ 105 CANCELLED USER_CANCEL by USER
            #11 a cancelled 1
            #12 a 9900.9901 USDC 101 ETH"#]],
    );
}

#[test]
fn a_spot_order_needs_its_balance_up_to_the_last_quantum() {
    // 99.95 at 100 cost 9,995 and 5 bps of it, 4.9975; a lot more costs 0.10005 more: too much for 10,000.
    check(
        "a buy 99.951 @ 100 | a buy 99.95 @ 100 | show a | b sell 100.001 @ 100 | b sell 100 @ 101 | show b",
        expect![[r#"
            #1 a rejected: INSUFFICIENT_BALANCE
            #2 a buy 99.95 @ 100 OPEN
            #3 a 10000 USDC (9999.9975 reserved) 100 ETH
            #4 b rejected: INSUFFICIENT_BALANCE
            #5 b sell 100 @ 101 OPEN
            #6 b 10000 USDC 100 ETH (100 reserved)"#]],
    );
}

#[test]
fn a_buy_of_everything_pays_no_more_than_it_has_however_it_is_filled() {
    check(
        "a buy 99.95 @ 100 | b sell 33.333 @ 100 | c sell 33.333 @ 100 | d sell 33.284 @ 100 | show a | show funds",
        expect![[r#"
            #1 a buy 99.95 @ 100 OPEN
            #2 fill 1 33.333 @ 100: maker a fee 0.33333, taker b fee 1.66665
            #2 a buy 99.95 @ 100 PARTIALLY_FILLED 33.333/99.95
            #2 b sell 33.333 @ 100 FILLED
            #3 fill 2 33.333 @ 100: maker a fee 0.33333, taker c fee 1.66665
            #3 a buy 99.95 @ 100 PARTIALLY_FILLED 66.666/99.95
            #3 c sell 33.333 @ 100 FILLED
            #4 fill 3 33.284 @ 100: maker a fee 0.33284, taker d fee 1.6642
            #4 a buy 99.95 @ 100 FILLED
            #4 d sell 33.284 @ 100 FILLED
            #5 a 4.0005 USDC 199.95 ETH
            #6 fees 5.997 insurance 0"#]],
    );
}

#[test]
fn fees_round_up_and_the_remainder_is_the_insurance_funds() {
    // 0.013 x 91.37 = 1.18781: 1 bp is 0.000118781, 5 bps are 0.000593905; in quantums 11878.1 and 59390.5.
    check(
        "a sell 0.013 @ 91.37 | b buy 0.013 @ 91.37 | show funds",
        expect![[r#"
        #1 a sell 0.013 @ 91.37 OPEN
        #2 fill 1 0.013 @ 91.37: maker a fee 0.00011879, taker b fee 0.00059391
        #2 a sell 0.013 @ 91.37 FILLED
        #2 b buy 0.013 @ 91.37 FILLED
        #3 fees 0.00071268 insurance 0.00000002"#]],
    );
}

#[test]
fn deposits_are_credited_once_and_bad_ones_refused() {
    check(
        "a deposit 5 USDC | a again | z deposit 1 ETH | show z | z register | z sell 1 @ 100 | z again
         a deposit 0 USDC | a deposit 1000001 USDC",
        expect![[r#"
            #1 a credited 5
            #2 system rejected: DEPOSIT_ALREADY_CONSUMED
            #3 z credited 1
            #4 z 0 USDC 1 ETH
            #5 z registered
            #6 z sell 1 @ 100 OPEN
            #7 z replayed: Order { state: Open, reason: None, size: Qty(100000000), filled: Qty(0), quote_filled: Amount(0) }
            #8 deposit refused: AMOUNT_NOT_POSITIVE
            #9 deposit refused: DEPOSIT_REFUSED"#]],
    );
}

#[test]
fn a_deposit_of_an_unknown_token_or_recipient_is_refused() {
    use keel_types::*;
    let mut world = World::funded(genesis());
    let Command::Deposit(good) = world.deposit('a', QUOTE, 500) else { panic!("a deposit") };
    let address = |felt: Felt| Address(felt);
    for (bad, reject) in [
        (Deposit { token: L1Address::ethereum([99; 20]), ..good }, Reject::UnknownAsset),
        (Deposit { recipient: address(Felt::ZERO), ..good }, Reject::BadRecipient),
        (Deposit { recipient: address(address_bound()), ..good }, Reject::BadRecipient),
        (Deposit { amount: u128::MAX, ..good }, Reject::DepositRefused),
    ] {
        let before = world.engine.dump();
        let events = world.apply(Command::Deposit(bad));
        assert_eq!(events, [Event::DepositRefused { message_nonce: good.message_nonce, reject }]);
        assert_eq!(world.engine.dump(), before);
    }
    let last = address(address_bound() - Felt::ONE);
    let events = world.apply(Command::Deposit(Deposit { recipient: last, ..good }));
    assert!(matches!(events[..], [Event::Deposited { account, amount: Amount(500), .. }] if account == last));
}

#[test]
fn a_withdrawal_to_no_address_of_the_settlement_layer_is_refused() {
    use keel_types::*;
    let starknet = SettlementLayer::Starknet { chain_id: FeltBytes(Felt::ONE) };
    let wide = L1Address(Felt::TWO.pow(160u32));
    for (layer, recipient, accepted) in [
        (genesis().settlement.layer, L1Address::default(), false),
        (genesis().settlement.layer, genesis().settlement.bridge, false),
        (genesis().settlement.layer, wide, false),
        (starknet, wide, true),
        (starknet, L1Address(address_bound()), false),
    ] {
        let mut genesis = genesis();
        genesis.settlement.layer = layer;
        let mut world = World::funded(genesis);
        let signed = world.sign('a');
        let withdraw = Withdraw { signed, asset: QUOTE, amount: Amount(100), recipient };
        let events = world.apply(Command::Withdraw(withdraw));
        let done = events.iter().any(|event| matches!(event, Event::Withdrawn(w) if w.recipient == recipient));
        let refused = matches!(events[..], [Event::Rejected { reject: Reject::BadRecipient, .. }]);
        assert!(done == accepted && refused != accepted, "{layer}: {recipient}: {events:?}");
    }
}

#[test]
fn withdrawals_take_what_is_free_in_units_of_the_settlement_layer() {
    check(
        "a buy 10 @ 100 | a withdraw 8999.5 USDC | a withdraw 8999.50000001 USDC | a withdraw 9000 USDC | a withdraw 1 USDC
         a withdraw 0 USDC | a withdraw 1 DOGE | a withdraw 100.00000001 ETH | a withdraw 0.00000001 ETH | show a",
        expect![[r#"
            #1 a buy 10 @ 100 OPEN
            #2 a withdrew 8999.5 as 8999500000 units, id 1
            #3 a rejected: AMOUNT_NOT_WITHDRAWABLE
            #4 a rejected: INSUFFICIENT_BALANCE
            #5 a rejected: INSUFFICIENT_BALANCE
            #6 a rejected: AMOUNT_NOT_POSITIVE
            #7 a rejected: UNKNOWN_ASSET
            #8 a rejected: INSUFFICIENT_BALANCE
            #9 a withdrew 0.00000001 as 1 units, id 2
            #10 a 1000.5 USDC (1000.5 reserved) 99.99999999 ETH"#]],
    );
}

#[test]
fn a_stranger_can_hold_a_deposit_and_nothing_else() {
    check_in(
        World::bare(genesis()),
        "z deposit 5 USDC | z withdraw 5 USDC | z cancel all | z register | z register | z withdraw 5 USDC | show z",
        expect![[r#"
            #1 z credited 5
            #2 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #3 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #4 z registered
            #5 z rejected: ALREADY_REGISTERED
            #6 z withdrew 5 as 5000000 units, id 1
            #7 z 0 USDC 0 ETH"#]],
    );
}
