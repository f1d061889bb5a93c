"""tbscreen's HTTP face: takes radiographs, answers with jobs, serves the web page."""
