def split_series(windows, validation, test):
    raise NotImplementedError
