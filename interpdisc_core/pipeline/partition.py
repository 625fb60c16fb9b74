"""How work is divided into tasks."""


def part_size(total: int, max_size: int, workers: int) -> int:
    """Items per task: at most `max_size`, and few enough that every worker gets a task; at least 1."""
    return max(1, min(max_size, -(-total // max(workers, 1))))


def split_range(total: int, max_size: int, workers: int) -> list[tuple[int, int]]:
    """Ranges [start, stop) that cover `total` items, each of at most `part_size` items.

    Example:
        >>> split_range(10, max_size=4, workers=2)
        [(0, 4), (4, 8), (8, 10)]
    """
    size = part_size(total, max_size, workers)
    return [(start, min(start + size, total)) for start in range(0, total, size)]
