"""Logs every training to Weights & Biases."""

from aigc_core import hookimpl


@hookimpl
def aigc_on_event(event):
    kind, data = event.kind, event.data
    if not kind.startswith("train."):
        return
    import wandb  # here, not above: this module is imported for every listing

    if kind == "train.start":  # a run that is resumed has the same folder, so it goes on in the same place
        run = data["run"].rpartition("/")[2]
        wandb.init(project="aigc", id=run, name=run, dir=data["run"], config=dict(data), resume="allow")
        wandb.define_metric("*", step_metric="step")  # so that a run may go back to a checkpoint
    elif kind == "train.log":
        wandb.log({**data["metrics"], "step": data["step"]})
    elif kind == "train.sheet" and data["path"].endswith(".png"):
        wandb.log({"samples": wandb.Image(data["path"]), "step": data["step"]})
    elif kind in ("train.end", "train.interrupted", "train.failed"):
        wandb.finish(exit_code=0 if kind == "train.end" else 1)
