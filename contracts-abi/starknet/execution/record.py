#!/usr/bin/env python3
"""Executes the exchange class in the Cairo VM of cairo-lang 0.12.3 and records what it does in execution.json.

The Rust tests repeat every step natively and compare calldata, storage, events and messages. Needs Python 3.9 with
`cairo-lang==0.12.3 'sympy<1.12' 'marshmallow<3.22'`; run again after a change of the sources, and review the difference.
"""

import asyncio
import decimal
import json
import pathlib

from starkware.starknet.business_logic.transaction.objects import InternalL1Handler
from starkware.starknet.definitions.error_codes import StarknetErrorCode
from starkware.starknet.public.abi import get_selector_from_name
from starkware.starknet.services.api.contract_class.contract_class_utils import compile_contract_class, load_sierra_from_dict
from starkware.starknet.testing.starknet import Starknet
from starkware.starkware_utils.error_handling import StarkException

HERE = pathlib.Path(__file__).resolve().parent
ARTIFACTS = HERE.parent.parent / "artifacts" / "starknet"
GENESIS = json.loads((HERE.parent.parent.parent / "genesis" / "dev.json").read_text())
ALICE, BOB = 0xA11CE, 0xB0B


def felt(value: str) -> int:
    return int(value, 16)


def short(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


def scaled(text: str, decimals: int) -> int:
    return int(decimal.Decimal(text).scaleb(decimals))


def market_arguments(market: dict, symbols: list) -> list:
    """`MarketParameters`, from the genesis."""
    spot = market["type"] == "spot"
    quantums = lambda *names: [scaled(market.get(name, "0"), 8) for name in names]
    ppm = lambda *names: [scaled(market.get(name, "0"), 6) for name in names]
    return [
        short(market["name"]),
        1 if spot else 2,
        symbols.index(market["base"]) if spot else 65535,
        *quantums("tick_size", "lot_size"),
        *ppm("fee_maker", "fee_taker", "band"),
        *quantums("notional_min", "notional_max", "price_max", "size_max"),
        *ppm("oracle_move_max"),
        *quantums("initial_price"),
        *ppm("imf", "mmf_factor"),
        *quantums("open_interest_lower", "open_interest_upper", "open_interest_max", "position_max"),
        *ppm("funding_rate_max", "liquidation_fee"),
        *quantums("impact_notional"),
    ]


def see_message_nonces():
    """This release shows an L1 handler a nonce of 0; the Starknet OS shows it the message's nonce, which the class relies on
    (cairo-lang, core/os/execution/execute_transactions.cairo, execute_l1_handler_transaction)."""
    create = InternalL1Handler.get_execution_context

    def with_nonce(self, n_steps):
        context = create(self, n_steps)
        context.nonce = self.nonce
        return context

    InternalL1Handler.get_execution_context = with_nonce


class Recorder:
    """A chain with the exchange on it, and the steps taken so far."""

    async def start(self):
        self.starknet = await Starknet.empty()
        self.prime = 2**251 + 17 * 2**192 + 1
        sierra = json.loads((ARTIFACTS / "exchange.contract_class.json").read_text())
        hashes = next(c for c in json.loads((ARTIFACTS / "classes.json").read_text()) if c["name"] == "exchange")
        class_hash, compiled = felt(hashes["class_hash"]), felt(hashes["compiled_class_hash_poseidon"])
        # Declared by hand: a declare transaction would hash both classes in pure Python, which takes minutes.
        state = self.starknet.state.state
        state.compiled_classes[compiled] = compile_contract_class(load_sierra_from_dict(sierra))
        await state.set_compiled_class_hash(class_hash, compiled)
        self.starknet.class_hash_to_abi[class_hash] = []
        oracle = GENESIS["oracle"]
        constructor = [
            GENESIS["rules_version"],
            GENESIS["settlement"]["chain_id"],
            felt(GENESIS["operator"]),
            felt(GENESIS["settlement"]["bridge"]),
            felt(GENESIS["fee_account"]),
            felt(GENESIS["insurance_account"]),
            oracle["quorum"],
            oracle["report_age_max_ms"],
            oracle["stale_ms"],
            len(oracle["publishers"]),
            *map(felt, oracle["publishers"]),
        ]
        contract = await self.starknet.deploy(class_hash=class_hash, contract_address_salt=0, constructor_calldata=constructor)
        self.exchange = contract.contract_address
        self.steps = []

    async def storage(self) -> dict:
        state = self.starknet.state.state
        written = state.cache._storage_writes
        return {key: value for (address, key), value in written.items() if address == self.exchange}

    async def step(self, name: str, arguments: list, caller: int = felt(GENESIS["operator"])):
        """One call of the operator: recorded with everything it did."""
        before = await self.storage()
        calldata = [argument % self.prime for argument in arguments]
        info = await self.starknet.state.execute_entry_point_raw(
            contract_address=self.exchange, selector=get_selector_from_name(name), calldata=calldata, caller_address=caller
        )
        await self.record(name, calldata, before, info)

    async def deposit(self, nonce: int, sender: int, payload: list):
        before = await self.storage()
        info = await self.starknet.send_message_to_l2(
            from_address=sender, to_address=self.exchange, selector="handle_deposit", payload=payload, nonce=nonce, paid_fee_on_l1=1
        )
        await self.record("handle_deposit", payload, before, info.call_info)

    async def record(self, name, calldata, before, info):
        after = await self.storage()
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        self.steps.append(
            {
                "call": name,
                "calldata": [hex(word) for word in calldata],
                "storage": {hex(key): hex(value) for key, value in sorted(changed.items())},
                "events": [{"keys": list(map(hex, e.keys)), "data": list(map(hex, e.data))} for e in info.events],
                "messages": [{"to": hex(m.to_address), "payload": list(map(hex, m.payload))} for m in info.l2_to_l1_messages],
            }
        )

    async def refused(self, reason: str, attempt):
        """The attempt must fail with this reason and change nothing."""
        before = await self.storage()
        try:
            await attempt
        except StarkException as error:
            assert error.code == StarknetErrorCode.TRANSACTION_FAILED, error
            assert reason in error.message or hex(short(reason)) in error.message, (reason, error.message)
        else:
            raise AssertionError(f"{reason}: accepted")
        assert await self.storage() == before, reason
        self.steps.append({"refused": reason})


async def main():
    see_message_nonces()
    chain = Recorder()
    await chain.start()
    operator, bridge = felt(GENESIS["operator"]), felt(GENESIS["settlement"]["bridge"])
    usdc, eth = (felt(asset["token"]) for asset in GENESIS["assets"][:2])
    symbols = [asset["symbol"] for asset in GENESIS["assets"]]
    for index, asset in enumerate(GENESIS["assets"]):
        unit = 10 ** (8 - asset["l1_decimals"])
        await chain.step("list_asset", [index, short(asset["symbol"]), felt(asset["token"]), unit, scaled(asset["deposit_max"], 8)])
    for index, market in enumerate(GENESIS["markets"]):
        await chain.step("list_market", [index, *market_arguments(market, symbols)])
    genesis = dict(await chain.storage())
    assert len(chain.steps) == 7
    listed, chain.steps = chain.steps, []

    await chain.refused("NOT_OPERATOR", chain.step("register", [ALICE, 0xF00D, 0], caller=operator + 1))
    await chain.step("register", [ALICE, 0xF00D, 0])
    await chain.step("register", [BOB, 0xBEEF, 1])
    await chain.deposit(7, bridge, [usdc, ALICE, 5_000_000])
    await chain.deposit(8, bridge, [usdc, ALICE, 1])
    await chain.deposit(9, bridge, [eth, BOB, 250])
    await chain.refused("NOT_THE_BRIDGE", chain.deposit(10, bridge + 1, [usdc, ALICE, 5]))
    await chain.refused("UNKNOWN_TOKEN", chain.deposit(10, bridge, [usdc + 1, ALICE, 5]))
    await chain.refused("BAD_AMOUNT", chain.deposit(10, bridge, [usdc, ALICE, 0]))
    await chain.refused("BAD_AMOUNT", chain.deposit(10, bridge, [usdc, ALICE, 2**128]))
    await chain.refused("OVER_THE_CAP", chain.deposit(10, bridge, [usdc, ALICE, 10**13 + 1]))
    await chain.refused("BAD_RECIPIENT", chain.deposit(10, bridge, [usdc, 0, 5]))
    await chain.refused("BAD_RECIPIENT", chain.deposit(10, bridge, [usdc, 2**251 - 256, 5]))
    await chain.refused("CONSUMED", chain.deposit(7, bridge, [usdc, ALICE, 5]))
    fill = [1, 300_000_000_000, 100_000, 0, BOB, 0xAA, -15, 0, ALICE, 0xBB, 90, -4]
    balances = [2, ALICE, 0, 499_999_910, BOB, 0, -85]
    positions = [2, ALICE, 2, 100_000, 300_000_000, 0, BOB, 2, -100_000, -300_000_000, 0]
    await chain.step("settle_fills", [2, 1, *fill, *balances, *positions, 1, 2, -3, 4])
    await chain.refused("MISSING", chain.step("settle_fills", [9, 0, 0, 0, 0]))
    await chain.step("set_prices", [2, 0, 310_000_000_000, 310_000_000_001, 2, 5, 6, 1_767_225_600_000_000_001])
    await chain.step("set_funding", [1, 3, 8, -9])
    await chain.step("withdraw", [ALICE, 0, 400_000_000, 0x2222222222222222222222222222222222222222, 1, 0xCC])
    await chain.refused("NOT_THE_NEXT", chain.step("withdraw", [ALICE, 0, 100, 0x22, 1, 0xCC]))
    await chain.refused("NOT_WHOLE_UNITS", chain.step("withdraw", [ALICE, 0, 150, 0x22, 2, 0xCC]))
    await chain.refused("INSUFFICIENT_BALANCE", chain.step("withdraw", [ALICE, 0, 100_000_000, 0x22, 2, 0xCC]))
    await chain.step("enter_safe_mode", [1, 6, 50, 60, 3, 0xABC, 70])
    await chain.step("set_phase", [1, 2, 80, 7, 9])
    await chain.refused("BAD_PHASE", chain.step("set_phase", [1, 5, 80, 0, 0]))
    await chain.step("enter_safe_mode", [2, 0, 0, 61, 0, 0, 90])

    text = json.dumps(
        {
            "source": "recorded by record.py: cairo-lang 0.12.3 executing artifacts/starknet/exchange.contract_class.json",
            "genesis": {hex(key): hex(value) for key, value in sorted(genesis.items())},
            "listed": [step["events"] for step in listed],
            "steps": chain.steps,
        },
        indent=1,
    )
    (HERE / "execution.json").write_text(text + "\n")
    print(f"{len(genesis)} words at genesis, {len(chain.steps)} steps")


if __name__ == "__main__":
    asyncio.run(main())
