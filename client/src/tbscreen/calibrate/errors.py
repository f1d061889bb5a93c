"""What `tbscreen calibrate` can not do."""


class SiteError(ValueError):
    """These radiographs do not make a threshold, or its file can not be written.

    The message says what is missing or wrong.
    """
