// Everything a client of Keel needs, in one import.
export { HANDLE_DEPOSIT, L1 } from "./l1.mjs";
export { Child, repository } from "./processes.mjs";
export { Rpc, RpcError, sleep, until } from "./rpc.mjs";
export { MESSAGES, messageHash, typedData } from "./snip12.mjs";
export { Stack } from "./stack.mjs";
export { QUANTUMS_PER_UNIT, fee, fromQuantums, notional, toQuantums } from "./units.mjs";
export { Wallet, accountAddress, randomPrivateKey } from "./wallet.mjs";
