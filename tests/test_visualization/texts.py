from matplotlib.text import Text


def texts(figure):
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text)]
