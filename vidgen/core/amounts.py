"""Numbers of bytes as a person says them."""

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
