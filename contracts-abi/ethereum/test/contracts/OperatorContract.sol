// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// An operator that is a contract. When message fees arrive it runs `onFees`; it takes no fees while `refusing`.
contract OperatorContract {
    address public target;
    bytes public onFees;
    bool public refusing;

    function arm(address newTarget, bytes calldata newOnFees, bool newRefusing) external {
        (target, onFees, refusing) = (newTarget, newOnFees, newRefusing);
    }

    function run(address to, bytes calldata data) external {
        _call(to, data);
    }

    receive() external payable {
        require(!refusing, "REFUSED");
        if (onFees.length == 0) return;
        bytes memory data = onFees;
        delete onFees;
        _call(target, data);
    }

    function _call(address to, bytes memory data) private {
        (bool ok, bytes memory answer) = to.call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}
