"""What a call for one sample may return, and what that means."""

# What a call may return. Only the first one says that something has been done.
DONE, WRONG_STATE, WRONG_X, WRONG_Y, WRONG_NUMBER, WRONG_OUT, NOT_FINITE, UNLOADED, OUTDATED = (
    range(9)
)

WRONG_STATE_MEANS = (
    "the state must be a whole array that fastbp.jit has made, in this version of fastbp: make "
    "it anew."
)
WRONG_X_MEANS = "x must have as many entries as the network has inputs."
WRONG_Y_MEANS = (
    "y must be a class number below the number of outputs, for the loss cross_entropy, or hold "
    "a finite number for each output that the loss allows; a cotangent must have an entry for "
    "each output."
)
WRONG_NUMBER_MEANS = "weight must be finite, and a learning rate finite and at least 0."
WRONG_OUT_MEANS = (
    "out must have an entry for each output, gradient for each number in params, and "
    "gradient_x for each input."
)
NOT_FINITE_MEANS = (
    "x, the parameters and what is computed from them must be finite: x or another array holds NaN "
    "or infinity, or the step would be so large that training has diverged."
)
UNLOADED_MEANS = "the functions for this dtype must be loaded first: call fastbp.jit.load(dtype)."
OUTDATED_MEANS = (
    "this function was compiled against an older fastbp: delete its cache and compile it again."
)

_NAMES = ["WRONG_STATE", "WRONG_X", "WRONG_Y", "WRONG_NUMBER", "WRONG_OUT", "NOT_FINITE"]
_NAMES += ["UNLOADED", "OUTDATED"]
MEANINGS = {name: globals()[f"{name}_MEANS"] for name in _NAMES}
STATUSES = {name: globals()[name] for name in ["DONE", *_NAMES]}
