"""`teacher.mode: batch`: requests go to OpenAI's Batch API in files, and replies come within a day at half the price.

client     BatchClient: the ChatClient; collects requests into files and waits for their replies
uploader   sends files as batches and fetches results, each step in the journal
provider   the provider's endpoints and file formats
journal    batches.jsonl: which batches were sent, and the status of each
overview   `drp batches`
"""
