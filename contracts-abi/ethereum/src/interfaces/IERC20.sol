// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The three ERC-20 calls the bridge makes. Declared without return values: some tokens return nothing, so the
/// bridge reads the answer itself.
interface IERC20 {
    function transfer(address to, uint256 amount) external;
    function transferFrom(address from, address to, uint256 amount) external;
    function balanceOf(address owner) external view returns (uint256);
}
