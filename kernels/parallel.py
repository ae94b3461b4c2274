"""Work in parts that do not depend on each other: one after the other, or by a team of threads.

A team is an array of int64. The thread that calls a kernel with it is member 0, and others `serve`
it as the members 1, 2, …. Each part belongs to a member, so that the same thread meets the same
data as before, but whoever is done takes what others have not begun: nobody waits for a
thread that is asleep. Only a part that has been begun is waited for. If that takes too long, other
processes need the cores, and the team is dismissed until the kernel returns.

A parallel loop of OpenMP ends when all of its threads have been there, so that each loop takes as
long as it takes the last of them to be given a core (docs/kernels.md has the figures).
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ._jit import jit
from .bits import flush_subnormals, restore_subnormals
from .instructions import INT32, INT64, instruction
from .memory import aligned_zeros
from .packing import recall, reference

# Words of a team; what different threads write lies on different cache lines.
_SIZE = 0  # members
_YIELD, _CLOCK, _CLOCK_KIND = 1, 2, 3  # addresses of C functions, and an argument
_FUNCTION, _TASK, _PARTS = 8, 9, 10  # the job at hand
_DISMISSED, _FAILED = 11, 12  # whether no more jobs are shared; whether a part has failed
_BEGAN, _WAITED = 13, 14  # when the first job was shared, and for how long 0 has waited, in ns
_DONE = 16  # parts of the job that are done
_JOB = 24  # number of the job
_QUIT = 32  # whether members are to stop serving
_LEFT = 40  # how many have stopped serving
_CLAIMS, _CLAIM = 48, 8  # a line per member: what it has not begun
_TIME = 1  # in that line: seconds and nanoseconds of its clock
# What is not begun: 32 bits for the number of the job, 16 for the next part, 16 for the last + 1.
_MOST_PARTS = (1 << 16) - 1
# So often a thread looks again before it offers its core to others, which takes some µs. It goes
# home after so many nanoseconds without a job; and after a longer time in any case, for others may
# wait for it: another trainer's team, or the end of the program.
_LOOKS, _IDLE, _SERVICE = 64, 5_000_000, 200_000_000
# A team is dismissed once it has kept its caller waiting for longer than this, in ns, and for half
# of the time that it can save: with so many members, 1 − 1/members of the time since the first job.
_PATIENCE = 500_000

# What kernels take for a team where the caller is alone.
ALONE: NDArray[np.int64] = np.empty(0, np.int64)


def _address(name: str) -> int:
    """Address of a function of the C library, or 0."""
    try:
        return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


def make_team(size: int) -> NDArray[np.int64]:
    """A team of so many threads, the caller included, of whom none is there yet.

    It is nobody's team, `ALONE`, where kernels are interpreted, or the system has no `sched_yield`.
    """
    give_way, clock = _address("sched_yield"), _address("clock_gettime")
    if config.DISABLE_JIT or not (give_way and clock):
        return ALONE
    team: NDArray[np.int64] = aligned_zeros(_CLAIMS + _CLAIM * size, np.dtype(np.int64))
    team[_SIZE] = size
    team[_YIELD], team[_CLOCK], team[_CLOCK_KIND] = give_way, clock, time.CLOCK_MONOTONIC
    return team


def dismiss(team: NDArray[np.int64]) -> None:
    """Have all members stop serving."""
    team[_QUIT : _QUIT + 1] = 1


def is_slow(team: NDArray[np.int64]) -> bool:
    """Whether the team has kept its caller waiting for too long."""
    return bool(team[_DISMISSED : _DISMISSED + 1].any())


def goes_on(team: NDArray[np.int64]) -> bool:
    """Whether no member has gone home, or kept the caller waiting; some may not have come yet."""
    return bool(len(team) > 0 and team[_LEFT] == 0 and not is_slow(team))


def begin(team: NDArray[np.int64]) -> None:
    """Forget how long earlier calls have waited for the team."""
    team[_BEGAN] = team[_WAITED] = 0


# Words that several threads use at a time.


def _giving(result: Any) -> Callable:
    """Typing of an operation on arrays of words, and numbers."""

    def typing(*operands: Any) -> Any:
        arrays = [kind if isinstance(kind, types.Array) else types.int64 for kind in operands]
        return result(*arrays)

    return typing


@instruction(_giving(types.int64), lambda team, place: team[place])
def _read(builder, team, place):
    """A word, before whatever is read afterwards."""
    return builder.load_atomic(team.at(place), "acquire", 8)


@instruction(_giving(types.none), lambda team, place, word: team.__setitem__(place, word))
def _write(builder, team, place, word):
    """Write a word, after whatever was written before."""
    builder.store_atomic(word, team.at(place), "release", 8)


@instruction(_giving(types.none), lambda team, place, number: None)
def _add(builder, team, place, number):
    """Add a number to a word."""
    builder.atomic_rmw("add", team.at(place), number, "acq_rel")


@instruction(_giving(types.boolean), lambda team, place, word, new: True)
def _replace(builder, team, place, word, new):
    """Write a new word if the old one is there still; whether it was."""
    return builder.extract_value(
        builder.cmpxchg(team.at(place), word, new, "acq_rel", "acquire"), 1
    )


@instruction(_giving(types.none), lambda: None)
def _pause(builder):
    """Let the core know that this thread only looks whether something has changed."""
    triple = builder.module.triple
    if triple.startswith(("aarch64", "arm64")):
        name, operands = "llvm.aarch64.hint", [INT32(1)]
    elif triple.startswith("x86_64"):
        name, operands = "llvm.x86.sse2.pause", []
    else:
        return
    kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _function(builder, address, *operands):
    kind = ir.FunctionType(ir.IntType(32), [operand.type for operand in operands])
    return builder.call(builder.inttoptr(address, kind.as_pointer()), operands)


@instruction(_giving(types.none), lambda address: None)
def _call(builder, address):
    """Call a C function without arguments."""
    _function(builder, address)


@instruction(_giving(types.none), lambda address, kind, team, place: None)
def _read_clock(builder, address, kind, team, place):
    """Write seconds and nanoseconds to two words."""
    _function(builder, address, builder.trunc(kind, ir.IntType(32)), team.at(place))


@intrinsic
def _address_of(typing_context: Any, function: Any, task: Any) -> Any:
    """Address of a compiled function of (task, part, parts) that returns nothing."""
    arguments = (task, types.int64, types.int64)
    function.get_call_type(typing_context, arguments, {})

    def codegen(context: Any, builder: Any, signature: Any, _: Any) -> Any:
        compiled = signature.args[0].dispatcher.overloads[arguments]
        context.add_linking_libs([compiled.library])
        found = context.declare_function(builder.module, compiled.fndesc)
        return builder.ptrtoint(found, INT64)

    return types.int64(function, task), codegen


@intrinsic
def _place_of(typing_context: Any, task: Any) -> Any:
    """The address that a reference is, as a number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], INT64)

    return types.int64(task), codegen


@intrinsic
def _do_part(typing_context: Any, function: Any, task: Any, part: Any, parts: Any) -> Any:
    """Call a function by what `_address_of` has given; whether it has failed."""
    kinds = (types.voidptr, types.int64, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, task, *numbers = args
        kind = context.call_conv.get_function_type(types.none, kinds)
        callee = builder.inttoptr(function, kind.as_pointer())
        task = builder.inttoptr(task, context.get_value_type(types.voidptr))
        status, _ = context.call_conv.call_function(
            builder, callee, types.none, kinds, [task, *numbers]
        )
        return status.is_error

    return types.boolean(*[types.int64] * 4), codegen


@jit
def team_size(team, shares):
    """Number of threads that work on something: the team, if they share it, otherwise 1."""
    if shares == 0 or len(team) == 0 or team[_DISMISSED] != 0:
        return 1
    return team[_SIZE]


@jit
def _now(team, me):
    """Time in ns, of a clock that is never set."""
    place = _CLAIMS + _CLAIM * me + _TIME
    _read_clock(team[_CLOCK], team[_CLOCK_KIND], team, place)
    return team[place] * 1_000_000_000 + team[place + 1]


@jit
def _step_back(team, looks):
    """Wait for a moment, having looked that often."""
    if looks < _LOOKS:
        _pause()
    else:
        _call(team[_YIELD])


@jit(inline=False)
def _take_parts(team, me):
    """Do parts of the job at hand: one's own, and then what others have not begun."""
    members = team[_SIZE]
    for k in range(members):
        place = _CLAIMS + _CLAIM * ((me + k) % members)
        claim = _read(team, place)
        while (claim >> 16) & _MOST_PARTS < claim & _MOST_PARTS:
            # If the claim is still there afterwards, this is its job: the next one is written when
            # nothing is left of this.
            function, task = _read(team, _FUNCTION), _read(team, _TASK)
            parts = _read(team, _PARTS)
            if _replace(team, place, claim, claim + (1 << 16)):
                if _do_part(function, task, (claim >> 16) & _MOST_PARTS, parts):
                    _write(team, _FAILED, 1)
                _add(team, _DONE, 1)
            claim = _read(team, place)


@jit(inline=False)
def _share(team, function, task, parts):
    """Do all parts together with those who serve; whether none has failed."""
    members, job = team[_SIZE], team[_JOB] + 1
    if team[_BEGAN] == 0:
        team[_BEGAN] = _now(team, 0)
    team[_DONE] = 0
    team[_FUNCTION], team[_TASK], team[_PARTS] = function, task, parts
    for k in range(members):
        first, last = k * parts // members, (k + 1) * parts // members
        _write(team, _CLAIMS + _CLAIM * k, job << 32 | first << 16 | last)
    _write(team, _JOB, job)
    _take_parts(team, 0)
    looks, since = 0, 0
    while _read(team, _DONE) < parts:
        if looks == _LOOKS:
            since = _now(team, 0)
        _step_back(team, looks)
        looks += 1
    if looks > _LOOKS:
        now = _now(team, 0)
        team[_WAITED] += now - since
        if team[_WAITED] > _PATIENCE + (now - team[_BEGAN]) * (members - 1) // (2 * members):
            team[_DISMISSED] = 1
    return _read(team, _FAILED) == 0


@jit(entry=True)
def serve(team, me):
    """Be member ``me`` of a team, until `dismiss`, or for a while."""
    mode = flush_subnormals()  # as its callers do
    job, looks, since, began = 0, 0, 0, _now(team, me)
    while _read(team, _QUIT) == 0:
        if _read(team, _JOB) != job:
            job = _read(team, _JOB)
            _take_parts(team, me)
            looks = 0
            if _now(team, me) - began > _SERVICE:
                break
            continue
        if looks == _LOOKS:
            since = _now(team, me)
        elif looks > _LOOKS and looks % _LOOKS == 0 and _now(team, me) - since > _IDLE:
            break
        _step_back(team, looks)
        looks += 1
    restore_subnormals(mode)
    _add(team, _LEFT, 1)


def in_parts(piece: Callable[..., Any]) -> Any:
    """Function of (task, parts, team, shares) that calls ``piece(task, part, parts)`` per part.

    If ``shares`` is not 0, a team takes the parts. A task may be a tuple of any depth: others are
    given its address. On one thread ``piece`` is inlined into its caller, because calls slow down a
    small network.
    """

    @jit(inline=False)
    def on_request(task, part, parts):
        piece(recall(task), part, parts)

    @jit
    def run(task, parts, team, shares):
        if team_size(team, shares) > 1 and 1 < parts <= _MOST_PARTS:
            place = reference(task)
            if not _share(team, _address_of(on_request, place), _place_of(place), parts):
                raise RuntimeError(
                    "a part of the work has failed on a thread; with n_threads=1 its error is seen."
                )
        else:
            for part in range(parts):
                piece(task, part, parts)

    return run
