"""The engine that trainers are handed: accelerate underneath."""

from __future__ import annotations

import contextlib
import inspect
import logging
import platform
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.accelerator import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aigc_core.errors import UsageError
from aigc_core.seeds import derive
from aigc_core.training.average import ExponentialAverage
from aigc_core.training.machine import keep_freed_memory, precision
from aigc_core.training.parallel import join_again, lay_out_moments, share_batch_statistics, whole
from aigc_core.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from aigc_core.interfaces import Average, Generator

    _M = TypeVar("_M", bound=nn.Module)
    _O = TypeVar("_O", bound=torch.optim.Optimizer)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class AccelerateEngine:
    """`aigc_core.interfaces.Engine` on any number of processes.

    The whole batch is cut into chunks, one for each process and each part of an accumulated gradient. All
    random values of a step are functions of (seed, step, place in the whole batch): `begin` seeds torch's
    global stream and the engine's own before each chunk, so that a run can be taken up anywhere.
    """

    def __init__(
        self,
        seed: int,
        batch_size: int,
        total_steps: int,
        *,
        cpu: bool = False,
        settings: Settings | None = None,
    ) -> None:
        """batch_size: items a step, over all processes. Raises UsageError if the settings do not fit the machine."""
        self._settings = settings = settings or Settings(precision="fp32")
        cpu = cpu or settings.cpu or not torch.accelerator.is_available()
        join_again(cpu)
        self._accelerator = Accelerator(cpu=cpu)
        self.rank: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes
        self._seed, self.batch_size = seed, batch_size
        self._step, self._total = 0, total_steps
        self._stream = torch.Generator(self.device)
        self._chunk, self.chunks = 0, self.processes * settings.accumulate
        if batch_size % self.chunks:
            raise UsageError(
                f"a batch of {batch_size} can't be shared by {self.processes} processes in {settings.accumulate} "
                f"parts each; choose a --batch-size that {self.chunks} divides"
            )
        self.precision = precision(settings.precision, self.device)
        self._dtype = _DTYPES.get(self.precision)
        self._accelerator.scaler = (
            torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None
        )
        if (
            settings.compile
            and self.device.type == "cpu"
            and not (shutil.which("c++") or shutil.which("g++"))
        ):
            raise UsageError(
                "--compile needs a C++ compiler, and none is installed; leave it out, or install g++"
            )
        if settings.shard and self.processes == 1:
            raise UsageError("--shard shares a model out over processes: give --processes 2 or more")
        if self.device.type == "cpu":
            keep_freed_memory()
        self._accelerator.gradient_state._set_sync_gradients(True)  # type: ignore[no-untyped-call]
        self._mesh: Any = None
        self._classes: dict[int, type[nn.Module]] = {}
        self._modules: list[nn.Module] = []
        self._control: Any = None
        self._asked: tuple[Any, Tensor] | None = None
        if self.processes > 1:
            self._control = distributed.new_group(backend="gloo")
            if settings.shard:
                self._mesh = distributed.device_mesh.init_device_mesh(self.device.type, (self.processes,))
        self.scale = 1.0
        """Of all learning rates; falls when training has diverged."""

    # What a trainer sees.

    @property
    def device(self) -> torch.device:
        device: torch.device = self._accelerator.device
        return device

    @property
    def step(self) -> int:
        return self._step

    @property
    def total_steps(self) -> int:
        return self._total

    def prepare(self, module: _M) -> _M:
        module = module.to(self.device)
        if self.processes > 1:
            share_batch_statistics(module)
        if self._settings.compile:
            # It tells of a CUDA that it does not need.
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
            module.compile()
        if not any(p.requires_grad for p in module.parameters()) or self.processes == 1:
            return module
        if self._mesh is not None:
            from aigc_core.training.sharding import shard

            self._classes[id(module)] = type(module)
            shard(module, self._mesh)
            self._modules.append(module)
            return module
        prepared = _distributed(module, self.device)
        self._modules.append(prepared)
        return prepared  # type: ignore[return-value]

    def unwrap(self, module: nn.Module) -> nn.Module:
        inner: nn.Module = module.module if isinstance(module, DistributedDataParallel) else module
        return inner

    def gathered(self, module: nn.Module) -> dict[str, Tensor] | None:
        if self._mesh is None or id(module) not in self._classes:
            return None
        from aigc_core.training.sharding import gathered

        return gathered(module, self.processes)

    def optimizer(self, optimizer: _O) -> _O:
        optimizer.register_step_pre_hook(self._shorten)
        optimizer.register_step_post_hook(self._restore)
        if self._mesh is not None:
            from aigc_core.training.sharding import deal_moments

            optimizer.register_load_state_dict_pre_hook(deal_moments)
        optimizer.register_load_state_dict_post_hook(lay_out_moments)
        return _Optimizer(optimizer, self)  # type: ignore[return-value]

    def backward(self, loss: Tensor) -> None:
        if self._settings.accumulate > 1:
            loss = loss / self._settings.accumulate
        self._accelerator.backward(loss)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        if self._dtype is None:
            yield
            return
        with torch.autocast(self.device.type, self._dtype):
            yield

    def average(self, generator: Generator[Any], half_life: float, ramp: float = 0.1) -> Average:
        plain = None
        if id(generator) in self._classes:

            def plain(tensors: Mapping[str, Tensor]) -> Generator[Any]:
                return self._plain(generator, tensors).eval().requires_grad_(False)

        return ExponentialAverage(generator, half_life, ramp, self, plain)

    def randn(self, *shape: int) -> Tensor:
        return self._mine(shape, lambda whole: torch.randn(whole, generator=self._stream, device=self.device))

    def dropout(self, p: float) -> nn.Module:
        return _Dropout(p, self)

    def mean(self, value: Tensor) -> Tensor:
        if self.processes == 1:
            return value
        whole = value.detach().clone()
        distributed.all_reduce(whole)
        return value + (whole / self.processes - value.detach())

    # What the loop sees.

    @property
    def parts(self) -> int:
        """In how many parts this process takes its share of a batch."""
        return self._settings.accumulate

    @property
    def updates(self) -> bool:
        """Whether the gradients of a batch are complete in this part, so that networks change."""
        return bool(self._accelerator.sync_gradients)

    def chunk(self, part: int) -> slice:
        """The rows of the whole batch that a part of this process is."""
        size, number = self.batch_size // self.chunks, part * self.processes + self.rank
        return slice(number * size, (number + 1) * size)

    def set_up(self) -> None:
        """Makes what a trainer draws as it is made the same in all processes, however many there are."""
        self._step = self._chunk = 0
        torch.manual_seed(derive(self._seed, "global", 0))
        self._stream.manual_seed(derive(self._seed, "randn", 0))

    def begin(self, step: int, part: int = 0) -> None:
        """Makes the step to come, or a part of it, a function of (seed, step, part)."""
        self._step = step
        self._chunk = part * self.processes + self.rank
        names = (step,) if self.chunks == 1 else (step, self._chunk)
        seed = derive(self._seed, "global", *names)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every kind of device: 0.16 ms
        else:
            torch.manual_seed(seed)
        self._stream.manual_seed(derive(self._seed, "randn", step))

    @contextlib.contextmanager
    def part(self, part: int) -> Iterator[None]:
        """Within the block gradients are accumulated, and used and exchanged in the last part alone."""
        last = part == self.parts - 1
        self._accelerator.gradient_state._set_sync_gradients(last)  # type: ignore[no-untyped-call]
        with contextlib.ExitStack() as stack:
            for module in self._modules:
                if isinstance(module, DistributedDataParallel) and not last:
                    stack.enter_context(module.no_sync())
                elif self._mesh is not None:
                    module.set_requires_gradient_sync(last)  # type: ignore[operator]
            yield

    def mean_of(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics as numbers, their mean over all processes. Waits for the device."""
        if not values:
            return {}
        stacked = torch.stack([v.detach().float().reshape(()) for v in values.values()])
        if self.processes > 1:
            distributed.all_reduce(stacked)
            stacked /= self.processes
        return dict(zip(values, stacked.tolist(), strict=True))

    def agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """What the processes decide together: to stop if one of them must, to save if the first one wishes.

        With several processes the answer is that to the question before: it travels while a step is made.
        """
        if self._control is None:
            return stop, save
        answer = (False, False)
        if self._asked is not None:
            work, flags = self._asked
            work.wait()
            answer = (bool(flags[0]), bool(flags[1]))
        flags = torch.tensor([stop, save and self.rank == 0], dtype=torch.uint8)
        self._asked = (
            distributed.all_reduce(flags, distributed.ReduceOp.MAX, group=self._control, async_op=True), flags
        )  # fmt: skip
        return answer

    def settle(self) -> None:
        """Ends what `agree` has under way."""
        if self._asked is not None:
            self._asked[0].wait()
            self._asked = None

    def told(self, value: Any) -> Any:
        """What the first process says, in all of them: plain Python."""
        if self._control is None:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._control)
        return values[0]

    @property
    def sharded(self) -> bool:
        return self._mesh is not None

    def whole(self, generator: Generator[Any]) -> Generator[Any]:
        """A generator whose tensors are all here; all processes must ask for it."""
        if id(generator) not in self._classes:
            return generator
        return self._plain(generator, generator.state_dict())

    def _plain(self, generator: Generator[Any], tensors: Mapping[str, Tensor]) -> Generator[Any]:
        with torch.random.fork_rng():
            plain: Generator[Any] = self._classes[id(generator)](generator.config, generator.data)  # type: ignore[assignment]
        share_batch_statistics(plain)
        full = {name: whole(tensor) for name, tensor in tensors.items()}
        plain.load_state_dict(full, strict=False)
        return plain

    def environment(self) -> dict[str, Any]:
        """What a result's last bits depend on beside its run."""
        cuda = self.device.type == "cuda"
        device = (
            torch.cuda.get_device_name(self.device)
            if cuda
            else f"cpu {torch.backends.cpu.get_cpu_capability()}"
        )
        return {
            "torch": torch.__version__,
            "device": device,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "processes": self.processes,
            "shard": self._settings.shard,
            "precision": self.precision,
        }

    def state_dict(self) -> dict[str, Any]:
        """Of the scaler of gradients, where the precision needs one."""
        scaler = self._accelerator.scaler
        return {} if scaler is None else dict(scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._accelerator.scaler is not None and state:
            self._accelerator.scaler.load_state_dict(dict(state))

    def set_total(self, steps: int) -> None:
        """How long the run is, once that has been measured."""
        self._total = steps

    def forget(self) -> None:
        """Lets go of all networks that were prepared: they are made anew."""
        self._modules.clear()
        self._classes.clear()

    def close(self) -> None:
        """Parts from the other processes."""
        self.settle()
        if self.processes > 1 and distributed.is_initialized():
            distributed.destroy_process_group()

    def _mine(self, shape: tuple[int, ...], draw: Any) -> Tensor:
        """Of values [k * batch, ...] drawn for the whole batch, the rows [k * N, ...] of this chunk."""
        size = self.batch_size // self.chunks
        if self.chunks == 1 or not shape or shape[0] % size:
            drawn: Tensor = draw(shape)
            return drawn
        passes = shape[0] // size
        whole = draw((passes * self.batch_size, *shape[1:])).view(passes, self.batch_size, *shape[1:])
        mine: Tensor = whole[:, self._chunk * size : (self._chunk + 1) * size]
        return mine.reshape(shape)

    def _shorten(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self.scale != 1.0:
            for group in optimizer.param_groups:
                group["unscaled_lr"] = group["lr"]
                group["lr"] = group["lr"] * self.scale

    def _restore(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self.scale != 1.0:
            for group in optimizer.param_groups:
                group["lr"] = group.pop("unscaled_lr")


class _Optimizer(AcceleratedOptimizer):
    """Steps when a batch is complete, and forgets gradients when they have been used: whether a trainer calls
    `zero_grad` before its backward or after its step, the parts of a batch add up."""

    def __init__(self, optimizer: torch.optim.Optimizer, engine: AccelerateEngine) -> None:
        super().__init__(optimizer, scaler=engine._accelerator.scaler)  # type: ignore[no-untyped-call]
        self._engine, self._used = engine, engine.parts == 1

    def zero_grad(self, set_to_none: bool | None = None) -> None:
        if self._used:
            self.optimizer.zero_grad()
            self._used = self._engine.parts == 1

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)  # type: ignore[no-untyped-call]
        self._used = self._used or self._engine.updates


class _Dropout(nn.Module):
    """Zeroes values with probability p while training, and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float, engine: AccelerateEngine) -> None:
        super().__init__()
        self.p, self._engine = p, engine

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        # Two bytes a value, drawn eight at a time: bernoulli_ takes eight times as long.
        width = x[0].numel()
        words = self._engine._mine((len(x), -(-width // 4)), self._draw)
        bits = words.view(torch.int16)[:, :width].reshape(x.shape)
        dropped = round(self.p * 2**16)
        mask = torch.ge(bits, dropped - 2**15, out=torch.empty_like(x))
        return x * mask.mul_(1 / (1 - dropped / 2**16))

    def _draw(self, shape: tuple[int, ...]) -> Tensor:
        engine = self._engine
        words = torch.empty(shape, dtype=torch.int64, device=engine.device)
        return words.random_(-(2**63), None, generator=engine._stream)


def _distributed(module: nn.Module, device: torch.device) -> nn.Module:
    """A network whose gradients are averaged over the processes. Its buffers are functions of what is equal
    in all of them, or averaged by themselves; sending them round would write into what a backward needs."""
    known = inspect.signature(DistributedDataParallel).parameters
    quiet = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    devices = [device.index] if device.type == "cuda" else None
    arguments: dict[str, Any] = {"device_ids": devices, quiet: False}
    return DistributedDataParallel(module, **arguments)
