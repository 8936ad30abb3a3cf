// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The messaging part of the core contract, as the bridge uses it. Same signatures as the Starknet core contract.
interface IAppchainMessaging {
    function sendMessageToL2(uint256 toAddress, uint256 selector, uint256[] calldata payload)
        external
        payable
        returns (bytes32 messageHash, uint256 nonce);

    function consumeMessageFromL2(uint256 fromAddress, uint256[] calldata payload) external returns (bytes32);

    function startL1ToL2MessageCancellation(
        uint256 toAddress,
        uint256 selector,
        uint256[] calldata payload,
        uint256 nonce
    ) external returns (bytes32);

    function cancelL1ToL2Message(uint256 toAddress, uint256 selector, uint256[] calldata payload, uint256 nonce)
        external
        returns (bytes32);
}
