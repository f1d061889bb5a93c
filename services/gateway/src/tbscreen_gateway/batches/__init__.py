"""Many radiographs in one request.

form      takes the request in: many files, or one archive
archive   unpacks a zip, entry by entry, and trusts nothing it says
draft     the files that came so far: stored, or refused with a reason
intake    makes a draft a batch of jobs, or leaves nothing of it
views     a batch as the API answers it
sheet     a batch as a spreadsheet
examples  what the API's documentation shows of batches
"""
