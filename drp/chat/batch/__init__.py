"""OpenAI's Batch API behind a ChatClient: files of requests go out, replies come back within a day at half the price.

files      requests as a provider wants them in a file
provider   one call each: upload, create, find, retrieve, cancel, download
rows       what comes back for each request
journal    batches.jsonl: what was sent, and how far it is
courier    a batch's way there and back, each step in the journal, so that a kill at any instant loses nothing
queue      requests that wait for the next file
client     the ChatClient
overview   `drp batches`
"""
