"""Numbers of bytes and of seconds as a person says them."""

UNITS = ("KiB", "MiB", "GiB", "TiB")


def amount(count: int) -> str:
    """`count` bytes in the largest unit that leaves no fraction below one: "512 bytes", "14.8 GiB"."""
    if count < 1024:
        return f"{count} byte{'' if count == 1 else 's'}"
    value = float(count)
    for unit in UNITS:
        value /= 1024
        if value < 1023.95 or unit == UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def several(count: int, thing: str) -> str:
    """`count` of something: "1 file", "12 files"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in words: "9 s", "4 min 10 s", "1 h 5 min"."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    large, small, units = (whole // 60, whole % 60, ("min", "s"))
    if whole >= 3600:
        large, small, units = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")
