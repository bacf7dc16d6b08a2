"""Supervised fine-tuning of the student on pruned responses. Modules here import torch at their top; only the train
stage imports them, and only once it has work to do.

    examples    records -> token ids and what was left out, why
    preflight   what is about to be trained on, shown and checked
    memory      what a training takes, estimated before it starts
    launch      the processes of one training
    batches     examples -> tensors, in an order that a resumed run repeats
    attention   examples side by side in one row, each attending to itself alone
    student     the model with its adapter, or all of its weights
    arguments   the configuration as transformers' Trainer wants it
    trainer     transformers' Trainer with the loss on the response, and its log
    export      adapter and merged model as whole folders
"""
