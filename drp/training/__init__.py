"""Supervised fine-tuning of the student on pruned responses. Only stage `train` imports this package, but for `draw`.

`draw`, `examples`, `launch`, `checkpoints` and `summary` do not import torch. The others do, and stage `train` imports
them only to train or to preview.

    session      one training, from its last checkpoint to adapter and merged model: read this first
    draw         which traces training draws, for the stages that pay a teacher, too
    examples     records -> token ids, and what was left out with the reason
    preflight    checks of the examples, and a report of what is trained on
    memory       estimate of the memory that a training needs
    launch       the processes of one training
    student      the model with its adapter, or all of its weights
    batches      examples -> tensors, the loss, the order of an epoch, padding-free attention
    trainer      transformers' Trainer with the loss on responses, its callbacks, and the log
    checkpoints  the Trainer's checkpoints on disk
    export       adapter and merged model as folders
    summary      the files of a training: paths, log.jsonl, summary.json
"""
