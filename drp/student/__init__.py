"""The student model: its prompts and responses, and the engines that sample from it.

rollouts.py      what `generate` and `eval` share: problems -> rollouts -> graded responses
engines.py       `open_engines`: engines in processes of their own, one or several, fed from one queue
sampler.py       `open_sampler`: choose a backend, check that it and the model are there, start it
gpu.py           the machine's GPUs, and whether torch can use them
base.py          `Sampler`, the interface of all backends, and what they do alike
vllm.py  transformers.py  server.py     one backend each
response.py      prompt, thinking tags, token counts: the only place that knows the student's text format
"""
